using QwixSharp.LiteRT.FlatBuffers;
using QwixSharp.LiteRT.Graphs;

namespace QwixSharp.LiteRT.Lowering;

/// <summary>Tensors put together and taken apart.</summary>
internal static class Joins
{
    internal static readonly Dictionary<string, LowerOp> Ops = new()
    {
        ["cat"] = Cat,
        ["concat"] = Cat,
        ["concatenate"] = Cat,
        ["hstack"] = n => [Concatenate(n.Builder, Typed(n), n.Inputs(0)[0].Rank == 1 ? 0 : 1)],
        ["stack"] = Stack,
        ["chunk"] = TakeApart,
        ["split"] = TakeApart,
        ["tensor_split"] = TakeApart,
        ["hsplit"] = TakeApart,
        ["unbind"] = Unbind,
    };

    internal static View Concatenate(GraphBuilder builder, View[] parts, int axis)
    {
        if (parts.Length == 1)
            return parts[0];
        int rank = parts[0].Rank;
        int[] order = parts.Where(p => !p.IsConstant && !p.IsReshaped).OrderByDescending(p => p.Tensor.Elements).Select(p => p.Order).FirstOrDefault(Axes.Identity(rank));
        GraphTensor[] tensors = [.. parts.Select(p => builder.Arrange(p, order))];
        int[] shape = [.. parts[0].Shape];
        shape[axis] = parts.Sum(p => p.Shape[axis]);
        var joined = builder.Emit(BuiltinOp.Concatenation, tensors, Axes.Pick(shape, Axes.Inverse(order)), parts[0].Type, ("axis", order[axis]));
        return new View(joined, order, shape);
    }

    internal static View[] Split(GraphBuilder builder, View x, int axis, int[] sizes)
    {
        if (sizes.Length == 1)
            return [x];
        if (x.IsReshaped)
            x = new View(builder.Plain(x));
        int physical = x.Order[axis];
        int[][] shapes = [.. sizes.Select(s => Replace(x.Tensor.Shape, physical, s))];
        var place = GraphBuilder.Scalar(physical, LiteRtType.Int32);
        var parts = sizes.Distinct().Count() == 1
            ? builder.EmitMany(BuiltinOp.Split, [place, x.Tensor], shapes, x.Type, ("num_splits", sizes.Length))
            : builder.EmitMany(BuiltinOp.SplitV, [x.Tensor, GraphBuilder.Ints(sizes), place], shapes, x.Type, ("num_splits", sizes.Length));
        return [.. parts.Select((p, i) => new View(p, x.Order, Replace(x.Shape, axis, sizes[i])))];
    }

    private static int[] Replace(int[] shape, int axis, int size)
    {
        int[] replaced = [.. shape];
        replaced[axis] = size;
        return replaced;
    }

    private static View[] Typed(Node node) => [.. node.Inputs(0).Select(x => node.Builder.Cast(x, node.Type))];

    private static View[] Cat(Node node)
    {
        View[] parts = [.. Typed(node).Where(x => x.Shape is not [0])];
        return [Concatenate(node.Builder, parts, Axes.Normal(node.Long(0, "dim", "axis"), node.Shape.Length))];
    }

    private static View[] Stack(Node node)
    {
        int axis = Axes.Normal(node.Long(0, "dim"), node.Shape.Length);
        View[] parts = [.. Typed(node).Select(x => node.Builder.Reshape(x, [.. x.Shape[..axis], 1, .. x.Shape[axis..]]))];
        return [Concatenate(node.Builder, parts, axis)];
    }

    /// <summary>The sizes of the parts are read off the results.</summary>
    private static View[] TakeApart(Node node)
    {
        var x = node.Input(0);
        int axis = node.Op == "hsplit" ? (x.Rank == 1 ? 0 : 1) : Axes.Normal(node.Long(0, "dim"), x.Rank);
        return Split(node.Builder, x, axis, [.. Enumerable.Range(0, node.Results).Select(i => node.ResultShape(i)[axis])]);
    }

    private static View[] Unbind(Node node)
    {
        var x = node.Input(0);
        int axis = Axes.Normal(node.Long(0, "dimension", "dim"), x.Rank);
        return [.. Split(node.Builder, x, axis, [.. Enumerable.Repeat(1, x.Shape[axis])]).Select((p, i) => node.Builder.Reshape(p, node.ResultShape(i)))];
    }
}
