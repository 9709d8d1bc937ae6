using QwixSharp.Interception.Deferred;
using QwixSharp.Ops;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Fusion;

/// <summary>
/// softmax(q · kᵀ · number + bias, last axis) · v with heads on the second axis; also where the result's heads are brought side
/// by side, as [batch, queries, heads · size].
/// </summary>
internal static class AttentionPattern
{
    /// <summary>The attention that a product or its rearrangement is, or null.</summary>
    internal static Tensor? TryCompute(DeferredNode node, DeferredGraph graph)
    {
        if (node.Kind == OpKind.MatMul)
            return node.Shape.Length == 4 ? Compute(node, node.Shape, Contiguous(node.Shape), graph) : null;
        if (WithHeadsTogether(node) is not { Kind: OpKind.MatMul, Shape: [_, var heads, var queries, var size] } product)
            return null;
        return Compute(product, node.Shape, [queries * heads * size, size, heads * size, 1], graph);
    }

    /// <summary>What gives the heads [batch, heads, queries, size] that a node has side by side, as [batch, queries, heads · size]; or null.</summary>
    internal static DeferredNode? WithHeadsTogether(DeferredNode node)
    {
        if (node.Kind != OpKind.Reshape || node.Source(0) is not { Kind: OpKind.Transpose } transpose || (transpose.Axis, transpose.Start) is not ((1, 2) or (2, 1)))
            return null;
        return transpose.Source(0) is { Shape: [var batch, var heads, var queries, var size] } source && node.Shape.AsSpan().SequenceEqual([batch, queries, heads * size])
            ? source
            : null;
    }

    private static Tensor? Compute(DeferredNode product, long[] shape, long[] strides, DeferredGraph graph)
    {
        var weights = NodeInput.Of(product, 0);
        if (!weights.Is(OpKind.Softmax) || weights.Node!.Axis != 3 || Scores(weights[0]) is not var (scores, scale, bias))
            return null;
        long[] left = scores.Node!.Shape;
        if (!FusedOps.CanAttend(left, scores[0].Shape(graph)[3], product.Shape[3]))
            return null;
        StridedTensor q = scores[0].View(graph), k = scores[1].View(graph).Exchanged(2, 3), v = NodeInput.Of(product, 1).View(graph);
        var added = bias is { } input ? input.View(graph).Repeated(left) : null;
        var haveNoGaps = q.Strides[3] == 1 && k.Strides[3] == 1 && v.Strides[3] == 1 && added?.Strides[3] is null or 1;
        return haveNoGaps && (added is not null || bias is null) ? FusedOps.Attention(q, k, v, added, scale, shape, strides) : null;
    }

    /// <summary>The product of queries and keys, what it is multiplied by, and what is added.</summary>
    private static (NodeInput Product, float Scale, NodeInput? Bias)? Scores(NodeInput input)
    {
        NodeInput? bias = null;
        if (input.IsOfTensors(OpKind.Add))
        {
            bias = Scaled(input[0]) is null ? input[0] : input[1];
            input = Scaled(input[0]) is null ? input[1] : input[0];
        }

        return Scaled(input) is var (product, scale) ? (product, scale, bias) : null;
    }

    private static (NodeInput Product, float Scale)? Scaled(NodeInput input)
    {
        double scale = 1;
        if (input.IsWithNumber(OpKind.Multiply) || (input.IsWithNumber(OpKind.Divide) && input.Node!.Axis == 0))
        {
            scale = input.Is(OpKind.Multiply) ? input.Node!.Number : 1 / input.Node!.Number;
            input = input[0];
        }

        return input.Is(OpKind.MatMul) ? (input, (float)scale) : null;
    }

    private static long[] Contiguous(long[] shape) => [shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3], 1];
}
