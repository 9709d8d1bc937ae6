using QwixSharp.LiteRT.FlatBuffers;
using QwixSharp.LiteRT.Graphs;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Lowering;

/// <summary>Padding as an op of its own.</summary>
internal static class Paddings
{
    internal static View[] Pad(Node node)
    {
        var builder = node.Builder;
        var x = node.Input(0);
        long[] given = node.Longs("pad")!;
        if (given.Length == 1)
            given = [.. Enumerable.Repeat(given[0], 2 * Math.Min(2, x.Rank))];
        int[] low = new int[x.Rank], high = new int[x.Rank];
        for (int i = 0; i < given.Length / 2; i++)
            (low[^(i + 1)], high[^(i + 1)]) = ((int)given[2 * i], (int)given[(2 * i) + 1]);

        // A negative amount cuts off.
        for (int a = 0; a < x.Rank; a++)
        {
            x = Shapes.Slice(builder, x, a, Math.Max(0, -low[a]), x.Shape[a] - Math.Max(0, -high[a]));
            (low[a], high[a]) = (Math.Max(0, low[a]), Math.Max(0, high[a]));
        }

        if (low.All(l => l == 0) && high.All(h => h == 0))
            return [x];
        switch (node.Named("mode")?.ToString())
        {
            case null or "Constant" or "Zeros":
                double value = node.Double(0, "value");
                return [Emit(builder, value == 0 ? BuiltinOp.Pad : BuiltinOp.Padv2, x, low, high, node.Shape, value == 0 ? null : GraphBuilder.Scalar(value, x.Type))];
            case "Reflect":
                return [Emit(builder, BuiltinOp.MirrorPad, x, low, high, node.Shape, null)];
            case var mode:
                for (int a = 0; a < x.Rank; a++)
                    x = ByIndex(builder, x, a, low[a], high[a], mode == "Circular");
                return [x];
        }
    }

    private static View Emit(GraphBuilder builder, BuiltinOp op, View x, int[] low, int[] high, int[] shape, GraphTensor? value)
    {
        if (x.IsReshaped)
            x = new View(builder.Plain(x));
        int[] inverse = Axes.Inverse(x.Order);
        var amounts = GraphBuilder.Constant(tensor(inverse.SelectMany(a => new[] { low[a], high[a] }).ToArray()).reshape(-1, 2));
        GraphTensor?[] inputs = value is null ? [x.Tensor, amounts] : [x.Tensor, amounts, value];
        return new View(builder.Emit(op, inputs, Axes.Pick(shape, inverse), x.Type, op == BuiltinOp.MirrorPad ? [("mode", 0)] : []), x.Order, shape);
    }

    /// <summary>Repeats edges, or goes around: elements of the axis by index.</summary>
    private static View ByIndex(GraphBuilder builder, View x, int axis, int low, int high, bool around)
    {
        if (low == 0 && high == 0)
            return x;
        int size = x.Shape[axis];
        int[] places = [.. Enumerable.Range(-low, low + size + high).Select(i => around ? ((i % size) + size) % size : Math.Clamp(i, 0, size - 1))];
        return Lookups.Gather(builder, x, new View(GraphBuilder.Ints(places)), axis);
    }
}
