using System.Collections.Concurrent;
using System.Reflection;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Interception.Deferred;

/// <summary>Reads what a call means.</summary>
/// <returns>False where the call would fail, or means something that is not deferred: it is then made at once.</returns>
internal delegate bool CallReader(DeferredGraph graph, ref CallArguments arguments, ref DeferredCall call);

/// <summary>A TorchSharp method whose calls may be deferred.</summary>
internal sealed class DeferrableOp
{
    private static readonly ConcurrentDictionary<MethodInfo, DeferrableOp?> Known = new();

    private DeferrableOp(OpKind kind, MethodInfo method, Type[] parameters, CallReader reader)
    {
        Kind = kind;
        Parameters = parameters;
        Descriptor = OpDescriptor.Of(method);
        Reader = reader;
        IsSplit = method.ReturnType == typeof(Tensor[]);
    }

    internal OpKind Kind { get; }

    /// <summary>The types of the arguments, the instance first.</summary>
    internal Type[] Parameters { get; }

    internal OpDescriptor Descriptor { get; }

    /// <summary>The same op with a result of its own, where this one writes over its first operand.</summary>
    internal DeferrableOp? Plain { get; private init; }

    internal CallReader Reader { get; }

    /// <summary>Whether it gives several tensors, the parts of one.</summary>
    internal bool IsSplit { get; }

    /// <summary>Whether the result has the elements of one tensor.</summary>
    internal bool Rearranges => Kind is OpKind.Part or OpKind.Reshape or OpKind.Transpose;

    /// <summary>Whether the interceptor computes it, and is asked first.</summary>
    internal bool NeedsConsent => Kind is OpKind.Linear or OpKind.Convolution or OpKind.MatMul or OpKind.Attention;

    /// <summary>The deferrable op that a method is, or null.</summary>
    internal static DeferrableOp? Of(MethodInfo method) => Known.GetOrAdd(method, static m => Make(m));

    private static DeferrableOp? Make(MethodInfo method)
    {
        if (method.DeclaringType is not { } type || !(type == typeof(Tensor) || type == typeof(torch) || type == typeof(nn.functional))) return null;
        var parameters = MethodShape.CallParameters(method);
        if (CallReaders.For(method.Name, parameters) is not var (kind, reader)) return null;
        var plain = ClampReaders.PlainOf(method.Name);
        if (plain is null && (kind == OpKind.Copy || !method.Name.EndsWith('_'))) return new DeferrableOp(kind, method, parameters, reader);
        plain ??= type.GetMethod(method.Name[..^1], [.. method.GetParameters().Select(p => p.ParameterType)]);
        return plain is null || Of(plain) is not { } op ? null : new DeferrableOp(kind, method, parameters, reader) { Plain = op };
    }
}
