using QwixSharp.Interception.Deferred;
using QwixSharp.Ops;

namespace QwixSharp.Providers.Fusion;

/// <summary>silu(gate) · x, with silu as an op or as gate · sigmoid(gate).</summary>
internal static class GatePattern
{
    /// <summary>Computes a product that is a gated one.</summary>
    internal static bool TryCompute(DeferredNode node, DeferredGraph graph)
    {
        if (node.Operands.Length != 2)
            return false;
        NodeInput left = NodeInput.Of(node, 0), right = NodeInput.Of(node, 1);
        var (gate, x) = Gate(left) is { } first ? (first, right) : Gate(right) is { } second ? (second, left) : default;
        if (gate.Tensor is null || !gate.Shape(graph).AsSpan().SequenceEqual(x.Shape(graph)))
            return false;
        StridedTensor g = gate.View(graph), value = x.View(graph);
        if (!g.IsContiguous || !value.IsContiguous)
            return false;
        using var output = new NodeOutput(node, graph);
        FusedOps.SiluTimes(g, value, output.Address);
        output.Give(graph);
        return true;
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
