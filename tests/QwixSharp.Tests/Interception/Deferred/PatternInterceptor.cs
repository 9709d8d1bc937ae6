using QwixSharp.Interception;
using QwixSharp.Interception.Deferred;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Interception.Deferred;

/// <summary>Defers all that can be, computes one pattern by its own way, and counts how often it was found.</summary>
internal sealed class PatternInterceptor(OpKind root, Func<DeferredNode, DeferredGraph, bool> pattern) : IDefersOps, IDeferredEvaluator
{
    public IDeferredEvaluator? Evaluator => this;

    public ModulePaths? Paths => null;

    internal int Matches { get; private set; }

    public bool Wants(OpDescriptor op) => false;

    public object? Intercept(in OpCall call) => throw new NotSupportedException();

    public bool MayRead(Tensor tensor) => true;

    public bool MayRearrange(Tensor tensor) => true;

    public bool Agrees(DeferrableOp op, in CallArguments arguments, long[] input, InterceptionScope scope, ref DeferredCall call) => false;

    public nint Locate(DeferredNode node, DeferredGraph graph, Span<long> strides) => throw new NotSupportedException();

    public bool TryCopy(Operand source, Operand target, DeferredGraph graph) => false;

    public bool TryCompute(DeferredNode node, DeferredGraph graph)
    {
        if (node.Kind != root || !pattern(node, graph)) return false;
        Matches++;
        return true;
    }
}
