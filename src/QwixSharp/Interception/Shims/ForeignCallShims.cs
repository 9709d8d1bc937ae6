using System.Reflection;
using System.Reflection.Emit;
using QwixSharp.Interception.Deferred;

namespace QwixSharp.Interception.Shims;

/// <summary>
/// Methods that stand in place of calls into code that is not copied, where such code may call back: invocations of
/// delegates, and methods with delegates or sequences as parameters. What is passed on is rewritten first.
/// </summary>
internal sealed class ForeignCallShims(MethodRewriter rewriter)
{
    private readonly Dictionary<MethodBase, DynamicMethod> _shims = [];

    /// <summary>The shim of a call or of the making of an object, or null where nothing that calls back is passed on.</summary>
    internal DynamicMethod? For(MethodBase method)
    {
        if (!CallsBack(method)) return null;
        lock (rewriter.Gate)
        {
            if (_shims.TryGetValue(method, out var known)) return known;
            return _shims[method] = Emit(method);
        }
    }

    private static bool CallsBack(MethodBase method)
    {
        var type = method.DeclaringType!;
        if (OpClassifier.IsDelegate(type)) return method.Name == "Invoke";
        if (MethodClassifier.IsModelType(type) || type.IsArray || method.ContainsGenericParameters) return false;
        return MethodShape.Parameters(method).Any(t => OpClassifier.IsDelegate(t) || OpClassifier.IsSequence(t));
    }

    private DynamicMethod Emit(MethodBase method)
    {
        var constructor = method as ConstructorInfo;
        var parameters = constructor is null ? ReceiverFirst(method) : MethodShape.Parameters(method);
        var result = constructor?.DeclaringType ?? MethodShape.ReturnType(method);
        var shim = MethodShape.Dynamic("call of " + MethodShape.DisplayName(method), result, parameters, method.Module);
        var il = shim.GetILGenerator();
        if (TorchSharpCalls.MayChangeTensors(method)) il.Emit(OpCodes.Call, OpaqueCallShims.Helper(nameof(Deferral.ComputeAll)));
        for (var i = 0; i < parameters.Length; i++)
        {
            OpaqueCallShims.LoadConcrete(il, i, parameters[i]);
            if (OpClassifier.IsDelegate(parameters[i])) Convert(il, typeof(DelegateRewriter), nameof(DelegateRewriter.Rewrite), parameters[i]);
            else if (OpClassifier.IsSequence(parameters[i])) Convert(il, typeof(Sequences), nameof(Sequences.Rewrite), parameters[i]);
        }

        if (constructor is not null) il.Emit(OpCodes.Newobj, constructor);
        else MethodShape.Call(il, method);
        il.Emit(OpCodes.Ret);
        return shim;
    }

    private static Type[] ReceiverFirst(MethodBase method) =>
        method.IsStatic || !method.DeclaringType!.IsValueType ? MethodShape.CallParameters(method) : MethodShape.CopyParameters(method);

    private void Convert(ILGenerator il, Type owner, string name, Type type)
    {
        var convert = owner.GetMethod(name, BindingFlags.NonPublic | BindingFlags.Static)!;
        il.Emit(OpCodes.Ldc_I4, rewriter.Id);
        il.Emit(OpCodes.Call, convert.IsGenericMethod ? convert.MakeGenericMethod(type.GetGenericArguments()) : convert);
        il.Emit(OpCodes.Castclass, type);
    }
}
