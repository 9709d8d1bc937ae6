using QwixSharp.Interception.Deferred;
using QwixSharp.Ops;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Fusion;

/// <summary>x · cos + cat(−x₂, x₁) · sin, where x₁ and x₂ are the halves of x along its last axis.</summary>
internal static class RotaryPattern
{
    /// <summary>The rotation that a sum is, or null.</summary>
    internal static Tensor? TryCompute(DeferredNode node, DeferredGraph graph)
    {
        if (node.Operands.Length != 2 || node.Shape.Length != 4)
            return null;
        NodeInput left = NodeInput.Of(node, 0), right = NodeInput.Of(node, 1);
        return TryCompute(node, left, right, graph) ?? TryCompute(node, right, left, graph);
    }

    private static Tensor? TryCompute(DeferredNode node, NodeInput straight, NodeInput turned, DeferredGraph graph)
    {
        if (!straight.IsOfTensors(OpKind.Multiply) || !turned.IsOfTensors(OpKind.Multiply))
            return null;
        var (x, sin) = Turned(turned[0]) is { } first ? (first, turned[1]) : Turned(turned[1]) is { } second ? (second, turned[0]) : default;
        if (x.Tensor is null)
            return null;
        var cos = straight[0].Same(x) ? straight[1] : straight[1].Same(x) ? straight[0] : default;
        long[] shape = node.Shape;
        if (cos.Tensor is null || !x.Shape(graph).AsSpan().SequenceEqual(shape) || !IsTable(cos.Shape(graph), shape) || !IsTable(sin.Shape(graph), shape))
            return null;
        if (ShapeReaders.Count(shape) == 0)
            return null;
        var view = x.View(graph);
        Tensor c = cos.Value(graph), s = sin.Value(graph);
        return view.Strides[3] == 1 && c.is_contiguous() && s.is_contiguous() ? FusedOps.Rotate(view, c, s) : null;
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
