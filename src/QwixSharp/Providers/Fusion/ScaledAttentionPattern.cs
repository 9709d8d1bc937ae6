using QwixSharp.Arrays;
using QwixSharp.Interception.Deferred;
using QwixSharp.Ops;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Fusion;

/// <summary>
/// Scaled dot-product attention as one call, also where the result's heads are brought side by side, as [batch, queries, heads ·
/// size]. Where heads of keys and values are repeated for groups of queries, those before the repetition are read where they lie.
/// </summary>
internal static class ScaledAttentionPattern
{
    /// <summary>Computes attention, or the rearrangement of it that a node is.</summary>
    internal static bool TryCompute(DeferredNode node, DeferredGraph graph)
    {
        var attention = AttentionPattern.WithHeadsTogether(node) ?? node;
        var (queries, keys, values) = Operands(attention, graph);
        if (!AttentionOp.CanCompute(queries, keys, values))
            return false;
        long[] shape = attention.Shape;
        long heads = shape[1], tokens = shape[2], size = shape[3];
        long[] byHead = [heads * tokens * size, tokens * size, size, 1], byToken = [heads * tokens * size, size, heads * size, 1];
        var isCausal = attention.Axis == 1;
        if (node == attention && !node.IsContiguous)
        {
            // libtorch's result lies as the queries do, which are mostly parts of tokens.
            using var result = empty([shape[0], tokens, heads, size], dtype: ScalarType.Float32);
            AttentionOp.Compute(queries, keys, values, isCausal, TensorMemory.Address(result), byToken);
            graph.Give(node, result.transpose(1, 2));
            return true;
        }

        using var output = new NodeOutput(node, graph);
        AttentionOp.Compute(queries, keys, values, isCausal, output.Address, node == attention ? byHead : byToken);
        output.Give(graph);
        return true;
    }

    private static (StridedTensor Queries, StridedTensor Keys, StridedTensor Values) Operands(DeferredNode attention, DeferredGraph graph)
    {
        NodeInput keys = NodeInput.Of(attention, 1), values = NodeInput.Of(attention, 2);
        if (AreRepeatedHeads(keys) && AreRepeatedHeads(values) && keys[0].Shape(graph)[1] == values[0].Shape(graph)[1])
            (keys, values) = (keys[0], values[0]);
        return (NodeInput.Of(attention, 0).View(graph), keys.View(graph), values.View(graph));
    }

    private static bool AreRepeatedHeads(NodeInput input) => input.Is(OpKind.Repeat) && input.Node!.Axis == 1;
}
