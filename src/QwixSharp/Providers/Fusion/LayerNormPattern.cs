using QwixSharp.Interception.Deferred;
using QwixSharp.Ops;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Fusion;

/// <summary>The layer norm of a tensor, or of a sum of two, which is then never stored.</summary>
internal static class LayerNormPattern
{
    /// <summary>The norm, or null.</summary>
    internal static Tensor? TryCompute(DeferredNode node, DeferredGraph graph)
    {
        var input = NodeInput.Of(node, 0);
        var isSum = input.IsOfTensors(OpKind.Add) && IsOf(input[0], node.Shape, graph) && IsOf(input[1], node.Shape, graph);
        Tensor x = (isSum ? input[0] : input).Value(graph);
        var added = isSum ? input[1].Value(graph) : null;
        Tensor? weight = null, bias = null;
        if (node.Operands.Length == 3)
            (weight, bias) = (graph.Value(node, 1), graph.Value(node, 2));
        var isContiguous = x.is_contiguous() && added?.is_contiguous() != false && weight?.is_contiguous() != false && bias?.is_contiguous() != false;
        return isContiguous && x.numel() > 0 ? FusedOps.LayerNorm(x, added, node.Shape, weight, bias, node.Number) : null;
    }

    private static bool IsOf(NodeInput input, long[] shape, DeferredGraph graph) => input.Shape(graph).AsSpan().SequenceEqual(shape);
}
