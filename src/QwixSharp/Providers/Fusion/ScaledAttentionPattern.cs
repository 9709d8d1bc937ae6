using QwixSharp.Interception.Deferred;
using QwixSharp.Ops;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Fusion;

/// <summary>
/// Scaled dot-product attention as one call. Where heads of keys and values are repeated for groups of queries, those before
/// the repetition are read where they lie.
/// </summary>
internal static class ScaledAttentionPattern
{
    /// <summary>The value of a call, or null.</summary>
    internal static Tensor? TryCompute(DeferredNode node, DeferredGraph graph)
    {
        NodeInput keys = NodeInput.Of(node, 1), values = NodeInput.Of(node, 2);
        if (AreRepeatedHeads(keys) && AreRepeatedHeads(values) && keys[0].Shape(graph)[1] == values[0].Shape(graph)[1])
            (keys, values) = (keys[0], values[0]);
        using var result = AttentionOp.TryCompute(NodeInput.Of(node, 0).View(graph), keys.View(graph), values.View(graph), isCausal: node.Axis == 1);
        // Heads between tokens, as libtorch's own result lies.
        return result?.transpose(1, 2);
    }

    private static bool AreRepeatedHeads(NodeInput input) => input.Is(OpKind.Repeat) && input.Node!.Axis == 1;
}
