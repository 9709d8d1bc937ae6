using QwixSharp.LiteRT.FlatBuffers;

namespace QwixSharp.LiteRT.Lowering;

/// <summary>Sums, means and extremes along axes.</summary>
internal static class Reductions
{
    internal static readonly Dictionary<string, LowerOp> Ops = new()
    {
        ["sum"] = n => [Reduce(n, BuiltinOp.Sum)],
        ["mean"] = n => [Reduce(n, BuiltinOp.Mean)],
        ["amax"] = n => [Reduce(n, BuiltinOp.ReduceMax)],
        ["amin"] = n => [Reduce(n, BuiltinOp.ReduceMin)],
        ["prod"] = n => [Reduce(n, BuiltinOp.ReduceProd)],
        ["all"] = n => [Reduce(n, BuiltinOp.ReduceAll)],
        ["any"] = n => [Reduce(n, BuiltinOp.ReduceAny)],
        ["max"] = n => Extreme(n, BuiltinOp.ReduceMax, BuiltinOp.ArgMax, BuiltinOp.Maximum),
        ["min"] = n => Extreme(n, BuiltinOp.ReduceMin, BuiltinOp.ArgMin, BuiltinOp.Minimum),
        ["argmax"] = n => [Position(n, BuiltinOp.ArgMax)],
        ["argmin"] = n => [Position(n, BuiltinOp.ArgMin)],
        ["var"] = n => [Variance(n)],
        ["std"] = n => [n.Builder.Unary(BuiltinOp.Sqrt, Variance(n))],
        ["norm"] = Norm,
        ["logsumexp"] = LogSumExp,
        ["cumsum"] = CumulativeSum,
    };

    /// <summary>A reduction over axes as the model sees them.</summary>
    internal static View Reduce(GraphBuilder builder, BuiltinOp op, View x, int[] axes, bool keep)
    {
        if (x.IsReshaped)
            x = new View(builder.Plain(x));
        int[] physical = [.. axes.Select(a => x.Order[a]).Order()], order = x.Order;
        var reduced = builder.Emit(op, [x.Tensor, GraphBuilder.Ints(physical)], Without(x.Tensor.Shape, physical, keep), x.Type, ("keep_dims", keep ? 1 : 0));
        return keep ? new View(reduced, order, Without(x.Shape, axes, keep)) : new View(reduced, Remaining(order, axes), Without(x.Shape, axes, keep));
    }

    /// <summary>The order of the axes that are left when some are taken away.</summary>
    internal static int[] Remaining(int[] order, int[] removed)
    {
        int[] left = [.. order.Where((_, axis) => !removed.Contains(axis))];
        return [.. left.Select(place => left.Count(other => other < place))];
    }

    internal static int[] Without(int[] shape, int[] axes, bool keep) =>
        keep ? [.. shape.Select((size, a) => axes.Contains(a) ? 1 : size)] : [.. shape.Where((_, a) => !axes.Contains(a))];

    private static View Reduce(Node node, BuiltinOp op) => Reduce(node.Builder, op, node.Operand(0, node.Type), AxesOf(node), node.Bool("keepdim"));

    private static int[] AxesOf(Node node)
    {
        int rank = node.Input(0).Rank;
        if (node.Longs("dim", "dims", "dimensions") is { Length: > 0 } given)
            return [.. given.Select(a => Axes.Normal(a, rank)).Order()];
        if (node.Longs("dim0") is { } first)
            return [.. new[] { first, node.Longs("dim1"), node.Longs("dim2") }.OfType<long[]>().Select(a => Axes.Normal(a[0], rank)).Order()];
        return Axes.Identity(rank);
    }

    private static View[] Extreme(Node node, BuiltinOp values, BuiltinOp positions, BuiltinOp elementwise)
    {
        if (node.Optional("other") is not null)
            return [Arithmetic.Combine(node.Builder, elementwise, node.Operand(0, node.Type), node.Operand(1, node.Type))];
        return node.Results == 1 ? [Reduce(node, values)] : [Reduce(node, values), Position(node, positions)];
    }

    /// <summary>The position of an extreme along an axis, or among all elements.</summary>
    private static View Position(Node node, BuiltinOp op)
    {
        var builder = node.Builder;
        var x = node.Input(0);
        if (node.Longs("dim") is not { } given)
        {
            x = builder.Reshape(new View(builder.Plain(x)), [checked((int)x.Tensor.Elements)]);
            given = [0];
        }

        if (x.IsReshaped)
            x = new View(builder.Plain(x));
        int axis = Axes.Normal(given[0], x.Rank), physical = x.Order[axis];
        var position = builder.Emit(op, [x.Tensor, GraphBuilder.Ints(physical)], Without(x.Tensor.Shape, [physical], false), LiteRtType.Int64, ("output_type", (int)LiteRtType.Int64));
        var view = new View(position, Remaining(x.Order, [axis]), Without(x.Shape, [axis], false));
        return builder.Reshape(view, node.ResultShape(node.Results - 1));
    }

    private static View Variance(Node node)
    {
        var builder = node.Builder;
        var x = node.Input(0);
        int[] axes = AxesOf(node);
        var centred = Arithmetic.Combine(builder, BuiltinOp.Sub, x, Reduce(builder, BuiltinOp.Mean, x, axes, keep: true));
        var variance = Reduce(builder, BuiltinOp.Mean, Arithmetic.Combine(builder, BuiltinOp.Mul, centred, centred), axes, node.Bool("keepdim"));
        double count = axes.Aggregate(1.0, (product, a) => product * x.Shape[a]);
        return node.Named("unbiased") is false ? variance : Arithmetic.Scaled(node, variance, count / (count - 1));
    }

    private static View[] Norm(Node node)
    {
        var x = node.Input(0);
        int[] axes = node.Longs("dim") is { } dim ? [Axes.Normal(dim[0], x.Rank)] : Axes.Identity(x.Rank);
        var builder = node.Builder;
        return node.Double(2, "p") switch
        {
            1 => [Reduce(builder, BuiltinOp.Sum, builder.Unary(BuiltinOp.Abs, x), axes, node.Bool("keepdim"))],
            2 => [builder.Unary(BuiltinOp.Sqrt, Reduce(builder, BuiltinOp.Sum, Arithmetic.Combine(builder, BuiltinOp.Mul, x, x), axes, node.Bool("keepdim")))],
            var p => throw node.Error($"of the norms, those with p = 1 and 2 can be exported, not {p}"),
        };
    }

    private static View[] LogSumExp(Node node)
    {
        var builder = node.Builder;
        var x = node.Input(0);
        int[] axes = AxesOf(node);
        var largest = Reduce(builder, BuiltinOp.ReduceMax, x, axes, keep: true);
        var powers = builder.Unary(BuiltinOp.Exp, Arithmetic.Combine(builder, BuiltinOp.Sub, x, largest));
        var sum = Arithmetic.Combine(builder, BuiltinOp.Add, builder.Unary(BuiltinOp.Log, Reduce(builder, BuiltinOp.Sum, powers, axes, keep: true)), largest);
        return [builder.Reshape(sum, node.Shape)];
    }

    private static View[] CumulativeSum(Node node)
    {
        var x = node.Operand(0, node.Type);
        if (x.IsReshaped)
            x = new View(node.Builder.Plain(x));
        int axis = x.Order[Axes.Normal(node.Long(0, "dim"), x.Rank)];
        return [x with { Tensor = node.Builder.Emit(BuiltinOp.Cumsum, [x.Tensor, new View(GraphBuilder.Scalar(axis, LiteRtType.Int32)).Tensor], x.Tensor.Shape, x.Type) }];
    }
}
