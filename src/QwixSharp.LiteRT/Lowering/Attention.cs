using QwixSharp.LiteRT.FlatBuffers;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Lowering;

/// <summary>Scaled dot-product attention: two stacked products around a softmax.</summary>
internal static class Attention
{
    /// <summary>What a masked score becomes: far below any other, and finite, so that a row with nothing left has no NaN.</summary>
    private const float Masked = -1e9f;

    internal static readonly Dictionary<string, LowerOp> Ops = new() { ["scaled_dot_product_attention"] = Attend };

    private static View[] Attend(Node node)
    {
        var builder = node.Builder;
        View query = node.Input(0), key = node.Input(1), value = node.Input(2);
        if (node.Double(0, "p") > 0)
            throw node.Error("its dropout is random; pass 0 in evaluation mode");
        int rank = key.Rank;
        var flipped = builder.Permute(key, [.. Enumerable.Range(0, rank - 2), rank - 1, rank - 2]);
        int[] stack = GraphBuilder.Broadcast([query.Shape[..^2], key.Shape[..^2]], Math.Max(query.Rank, rank) - 2);
        var scores = Products.MatMul(builder, query, flipped, [.. stack, query.Shape[^2], key.Shape[^2]]);
        scores = Arithmetic.Scaled(node, scores, 1 / Math.Sqrt(query.Shape[^1]));
        if (Mask(node, scores) is { } mask)
            scores = Arithmetic.Combine(builder, BuiltinOp.Add, scores, mask);
        var weights = Activations.Softmax(builder, scores, scores.Rank - 1, BuiltinOp.Softmax, ("beta", 1));
        return [Products.MatMul(builder, weights, value, node.Shape)];
    }

    /// <summary>What is added to the scores; a mask of truth values becomes one of numbers.</summary>
    private static View? Mask(Node node, View scores)
    {
        if (node.Bool("is_casual", "is_causal"))
            return new View(GraphBuilder.Constant(zeros(scores.Shape[^2], scores.Shape[^1]).masked_fill(ones(scores.Shape[^2], scores.Shape[^1], ScalarType.Bool).tril().logical_not(), LastingNumber.Of(Masked))));
        if (node.Optional("attn_mask") is not { } mask)
            return null;
        if (mask.Type != LiteRtType.Bool)
            return mask;
        if (mask.Tensor.Constant is { } truth)
            return mask with { Tensor = GraphBuilder.Constant(zeros(truth.shape).masked_fill(truth.logical_not(), LastingNumber.Of(Masked)), mask.Tensor.Name) };
        return Comparisons.Select(node.Builder, mask, Arithmetic.Number(0), Arithmetic.Number(Masked));
    }
}
