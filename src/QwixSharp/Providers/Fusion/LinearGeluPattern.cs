using QwixSharp.Interception.Deferred;
using QwixSharp.Ops;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Fusion;

/// <summary>gelu(x · wᵀ + b), applied where the product is stored.</summary>
internal static class LinearGeluPattern
{
    /// <summary>The activated layer that a gelu is, or null.</summary>
    internal static Tensor? TryCompute(DeferredNode node, DeferredGraph graph)
    {
        // What else reads the layer would have it computed again.
        if (node.Source(0) is not { Kind: OpKind.Linear, Readers: 1, IsReachable: false } linear)
            return null;
        var bias = linear.Operands.Length > 1 ? linear.Operands[1] : null;
        return ((PackedLinear)linear.Payload!).TryComputeGelu(graph.Value(linear, 0), bias);
    }
}
