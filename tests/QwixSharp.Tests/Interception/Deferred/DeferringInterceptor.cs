using QwixSharp.Interception;
using QwixSharp.Interception.Deferred;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Interception.Deferred;

/// <summary>Defers all that can be, computes it as the model wrote it, and counts.</summary>
internal sealed class DeferringInterceptor : IDefersOps, IDeferredEvaluator
{
    public IDeferredEvaluator? Evaluator => this;

    public ModulePaths? Paths => null;

    /// <summary>The kinds of the deferred ops that were computed, in order.</summary>
    internal List<OpKind> Computed { get; } = [];

    public bool Wants(OpDescriptor op) => false;

    public object? Intercept(in OpCall call) => throw new NotSupportedException();

    public bool MayRead(Tensor tensor) => true;

    public bool MayRearrange(Tensor tensor) => true;

    public bool Agrees(DeferrableOp op, in CallArguments arguments, long[] input, InterceptionScope scope, ref DeferredCall call) => false;

    public nint Locate(DeferredNode node, DeferredGraph graph, Span<long> strides) => throw new NotSupportedException();

    public bool TryCopy(Operand source, Operand target, DeferredGraph graph) => false;

    public bool TryCompute(DeferredNode node, DeferredGraph graph)
    {
        Computed.Add(node.Kind);
        return false;
    }
}
