using QwixSharp.Interception.Deferred;
using QwixSharp.Ops;

namespace QwixSharp.Providers.Fusion;

/// <summary>x · cos + cat(−x₂, x₁) · sin, where x₁ and x₂ are the halves of x along its last axis.</summary>
internal static class RotaryPattern
{
    /// <summary>Computes a sum that is a rotation.</summary>
    internal static bool TryCompute(DeferredNode node, DeferredGraph graph)
    {
        if (node.Operands.Length != 2 || node.Shape.Length != 4)
            return false;
        NodeInput left = NodeInput.Of(node, 0), right = NodeInput.Of(node, 1);
        return TryCompute(node, left, right, graph) || TryCompute(node, right, left, graph);
    }

    private static bool TryCompute(DeferredNode node, NodeInput straight, NodeInput turned, DeferredGraph graph)
    {
        if (!straight.IsOfTensors(OpKind.Multiply) || !turned.IsOfTensors(OpKind.Multiply))
            return false;
        var (x, sin) = Turned(turned[0]) is { } first ? (first, turned[1]) : Turned(turned[1]) is { } second ? (second, turned[0]) : default;
        if (x.Tensor is null)
            return false;
        var cos = straight[0].Same(x) ? straight[1] : straight[1].Same(x) ? straight[0] : default;
        long[] shape = node.Shape;
        if (cos.Tensor is null || !x.Shape(graph).AsSpan().SequenceEqual(shape) || !IsTable(cos.Shape(graph), shape) || !IsTable(sin.Shape(graph), shape))
            return false;
        if (ShapeReaders.Count(shape) == 0)
            return false;
        var view = x.View(graph);
        StridedTensor c = cos.View(graph), s = sin.View(graph);
        if (view.Strides[3] != 1 || !c.IsContiguous || !s.IsContiguous)
            return false;
        using var output = new NodeOutput(node, graph);
        FusedOps.Rotate(view, c, s, output.Address);
        output.Give(graph);
        return true;
    }

    /// <summary>Whether a shape is [tokens, size], up to axes of length 1 before.</summary>
    private static bool IsTable(long[] table, long[] heads) =>
        table.Length >= 2 && table[^1] == heads[3] && table[^2] == heads[2] && ShapeReaders.Count(table) == heads[2] * heads[3];

    /// <summary>What <c>cat(−x₂, x₁)</c> is made of, or null.</summary>
    private static NodeInput? Turned(NodeInput input)
    {
        if (!input.Is(OpKind.Concatenate) || input.Node!.Operands.Length != 2 || input.Node.Axis != input.Node.Shape.Length - 1)
            return null;
        if (!input[0].Is(OpKind.Negate))
            return null;
        NodeInput second = input[0][0], first = input[1];
        long half = input.Node.Shape[^1] / 2;
        var isPair = IsHalf(first, 0, half) && IsHalf(second, half, half) && first[0].Same(second[0]);
        return isPair && input.Node.Shape[^1] == 2 * half ? first[0] : null;
    }

    private static bool IsHalf(NodeInput part, long start, long length) =>
        part.Is(OpKind.Part) && part.Node!.Axis == part.Node.Shape.Length - 1 && part.Node.Start == start && part.Node.Shape[^1] == length;
}
