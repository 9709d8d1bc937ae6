using System.Reflection;
using TorchSharp;

namespace QwixSharp.Interception;

/// <summary>A tensor op of TorchSharp that interception can see, as it is named in TorchSharp.</summary>
public sealed class OpDescriptor
{
    private readonly Func<object?[], object?> _original;

    internal OpDescriptor(int id, MethodInfo method, Func<object?[], object?> original)
    {
        Id = id;
        Method = method;
        _original = original;
        var type = method.DeclaringType!.IsGenericType ? method.DeclaringType.GetGenericTypeDefinition() : method.DeclaringType;
        Name = (type == typeof(torch.Tensor) ? "Tensor" : type.FullName!.Replace("TorchSharp.", "").Replace('+', '.')) + "." + method.Name;
    }

    /// <summary>A small number that is unique to the op in this process: an index for tables.</summary>
    public int Id { get; }

    /// <summary>The TorchSharp method.</summary>
    public MethodInfo Method { get; }

    /// <summary>
    /// The dotted name, such as <c>torch.nn.functional.linear</c>, <c>Tensor.matmul</c> or, for a module that runs
    /// natively as a whole, <c>Modules.GRU.forward</c>. Overloads share a name.
    /// </summary>
    public string Name { get; }

    /// <summary>The descriptor of a TorchSharp method that is an op.</summary>
    internal static OpDescriptor Of(MethodInfo method) => Shims.OpShims.Describe(method).Op;

    internal object? Call(object?[] arguments)
    {
        var result = _original(arguments);
        // TorchSharp hands the numbers' memory to native code without keeping them: a finalizer could free it meanwhile.
        GC.KeepAlive(arguments);
        return result;
    }
}

/// <summary>One call of a tensor op inside a model's forward pass.</summary>
public readonly struct OpCall
{
    internal OpCall(OpDescriptor op, object?[] arguments, torch.nn.Module module, string modulePath)
    {
        Op = op;
        Arguments = arguments;
        Module = module;
        ModulePath = modulePath;
    }

    /// <summary>The op that is called.</summary>
    public OpDescriptor Op { get; }

    /// <summary>
    /// The arguments in the order of the method's parameters. For a method of <see cref="torch.Tensor"/> the tensor
    /// comes first; a <see cref="ReadOnlySpan{T}"/> parameter is an array here, and a lazy sequence has been read into one.
    /// </summary>
    public object?[] Arguments { get; }

    /// <summary>The module whose method or hook calls the op.</summary>
    public torch.nn.Module Module { get; }

    /// <summary>The dotted path of <see cref="Module"/> in the model, as <c>named_modules()</c> gives it; empty for the model itself.</summary>
    public string ModulePath { get; }

    /// <summary>Calls the op itself with <see cref="Arguments"/>.</summary>
    /// <returns>What the op returns.</returns>
    public object? Proceed() => Op.Call(Arguments);

    /// <summary>Calls the op itself with other arguments.</summary>
    /// <param name="arguments">The arguments, in the order of <see cref="Arguments"/>.</param>
    /// <returns>What the op returns.</returns>
    public object? Proceed(object?[] arguments) => Op.Call(arguments);
}

/// <summary>Sees the tensor ops of a model while it runs, and may answer in their place.</summary>
/// <remarks>
/// Ops that the interceptor itself calls are not intercepted. Several threads may call one interceptor at once.
/// </remarks>
public interface IOpInterceptor
{
    /// <summary>Whether calls of an op should come to <see cref="Intercept"/>. Asked at every call, so it must be quick.</summary>
    /// <param name="op">The op.</param>
    bool Wants(OpDescriptor op);

    /// <summary>Answers a call of an op.</summary>
    /// <param name="call">The call; <see cref="OpCall.Proceed()"/> does what the op would have done.</param>
    /// <returns>
    /// The result, of the op's own result type. Never an argument itself: models dispose what they pass on, so return
    /// <c>tensor.alias()</c> instead. What is kept beyond the call must be detached from the model's dispose scopes.
    /// For an op without a result, <c>Tensor.set_TensorItems</c>, the answer is ignored.
    /// </returns>
    object? Intercept(in OpCall call);
}
