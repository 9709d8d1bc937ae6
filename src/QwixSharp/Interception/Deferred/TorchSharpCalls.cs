using System.Reflection;
using TorchSharp;
using Tensor = TorchSharp.torch.Tensor;

namespace QwixSharp.Interception.Deferred;

/// <summary>Which methods of TorchSharp may change tensors that they are not given, or how ops are computed.</summary>
internal static class TorchSharpCalls
{
    private static readonly HashSet<string> Quiet = ["NewDisposeScope", "WrappedTensorDisposeScope", "get_CurrentDisposeScope", "is_grad_enabled", "is_inference_mode_enabled", "get_num_threads"];

    /// <summary>Methods of a tensor that write through it, or give others a way to.</summary>
    private static readonly HashSet<string> Writing = ["data", "get_bytes", "set_bytes", "backward", "set_grad", "Load", "ReadBytesFromStream", "get_Handle", "get_data"];

    /// <summary>Methods of a module that give it other parameters, or change their values.</summary>
    private static readonly HashSet<string> Changing = ["to", "_to", "cpu", "cuda", "half", "bfloat16", "load", "load_py", "load_state_dict", "zero_grad", "apply", "Dispose", "register_buffer", "register_parameter"];

    /// <summary>Whether everything that is deferred has to be computed before a call of a method that is no op.</summary>
    internal static bool MayChangeTensors(MethodBase method)
    {
        var type = method.DeclaringType!;
        if (type.Assembly != OpClassifier.TorchSharp) return TakesDelegate(method);
        // A parameter takes the native tensor of what it is made of.
        if (method is ConstructorInfo ? type == typeof(TorchSharp.Modules.Parameter) : method.Name is "AsParameter" or "Parameter") return true;
        if (typeof(Tensor).IsAssignableFrom(type)) return Writing.Contains(method.Name);
        if (Quiet.Contains(method.Name) || (method.IsSpecialName && !method.Name.StartsWith("set_", StringComparison.Ordinal)) || method.Name is "GetEnumerator" or "call" or "forward") return false;
        if (type == typeof(DisposeScope)) return method.Name.StartsWith("DisposeEverything", StringComparison.Ordinal);
        if (MethodClassifier.IsModule(type)) return Changing.Contains(method.Name);
        return type.IsAbstract && type.IsSealed ? !IsHarmlessHolder(type) : !IsHarmless(type);
    }

    /// <summary>Whether an op writes to a tensor that it is given.</summary>
    /// <param name="op">The op.</param>
    /// <param name="flag">The parameter that says so at each call; null where the op always does.</param>
    internal static bool WritesInPlace(MethodInfo op, out int? flag)
    {
        flag = null;
        if ((op.Name.EndsWith('_') && !op.Name.EndsWith("__", StringComparison.Ordinal)) || op.Name == "set_TensorItems") return true;
        var place = Array.FindIndex(op.GetParameters(), p => p.ParameterType == typeof(bool) && p.Name is "inplace" or "training" or "train" or "use_input_stats");
        if (place >= 0) flag = place;
        return place >= 0;
    }

    /// <summary>Code that is not copied may call back, on other threads too.</summary>
    private static bool TakesDelegate(MethodBase method) =>
        method.GetParameters().Any(p => OpClassifier.IsDelegate(p.ParameterType))
        || typeof(Task).IsAssignableFrom(method.DeclaringType) || method.DeclaringType == typeof(Thread) || method.DeclaringType == typeof(Parallel);

    private static bool IsHarmless(Type type) =>
        type == typeof(Scalar) || type == typeof(torch.TensorIndex) || type == typeof(torch.Device) || type == typeof(torch.Size)
        || type.Name.StartsWith("ModuleList", StringComparison.Ordinal) || type.Name.StartsWith("ModuleDict", StringComparison.Ordinal) || type.Name.StartsWith("Sequential", StringComparison.Ordinal);

    /// <summary>Static classes that only make numbers of others.</summary>
    private static bool IsHarmlessHolder(Type type) => type.Name is "ScalarExtensionMethods" or "TensorExtensionMethods" or "ModuleExtensionMethods";
}
