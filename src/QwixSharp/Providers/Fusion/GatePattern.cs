using QwixSharp.Interception.Deferred;
using QwixSharp.Ops;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Fusion;

/// <summary>silu(gate) · x, with silu as an op or as gate · sigmoid(gate).</summary>
internal static class GatePattern
{
    /// <summary>The gated product that a product is, or null.</summary>
    internal static Tensor? TryCompute(DeferredNode node, DeferredGraph graph)
    {
        if (node.Operands.Length != 2)
            return null;
        NodeInput left = NodeInput.Of(node, 0), right = NodeInput.Of(node, 1);
        var (gate, x) = Gate(left) is { } first ? (first, right) : Gate(right) is { } second ? (second, left) : default;
        if (gate.Tensor is null || !gate.Shape(graph).AsSpan().SequenceEqual(x.Shape(graph)))
            return null;
        Tensor g = gate.Value(graph), value = x.Value(graph);
        return g.is_contiguous() && value.is_contiguous() ? FusedOps.SiluTimes(g, value, node.Shape) : null;
    }

    private static NodeInput? Gate(NodeInput input)
    {
        if (input.Is(OpKind.Silu))
            return input[0];
        if (!input.IsOfTensors(OpKind.Multiply))
            return null;
        if (input[1].Is(OpKind.Sigmoid) && input[1][0].Same(input[0]))
            return input[0];
        return input[0].Is(OpKind.Sigmoid) && input[0][0].Same(input[1]) ? input[1] : null;
    }
}
