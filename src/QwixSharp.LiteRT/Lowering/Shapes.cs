using QwixSharp.LiteRT.Capture;
using QwixSharp.LiteRT.FlatBuffers;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Lowering;

/// <summary>Ops that move data, or only change how it is seen.</summary>
internal static class Shapes
{
    internal static readonly Dictionary<string, LowerOp> Ops = new()
    {
        ["view"] = Reshape,
        ["view_as"] = Reshape,
        ["reshape"] = Reshape,
        ["flatten"] = Reshape,
        ["ravel"] = Reshape,
        ["unflatten"] = Reshape,
        ["squeeze"] = Reshape,
        ["unsqueeze"] = Reshape,
        ["atleast_1d"] = Reshape,
        ["atleast_2d"] = Reshape,
        ["atleast_3d"] = Reshape,
        ["contiguous"] = Same,
        ["clone"] = Same,
        ["to"] = Cast,
        ["type"] = Cast,
        ["to_type"] = Cast,
        ["type_as"] = Cast,
        ["float"] = Cast,
        ["int"] = Cast,
        ["long"] = Cast,
        ["bool"] = Cast,
        ["permute"] = n => [n.Builder.Permute(n.Input(0), [.. n.Longs("permutation", "dims")!.Select(a => Axes.Normal(a, n.Input(0).Rank))])],
        ["transpose"] = n => Swap(n, n.Long(0, "dim0"), n.Long(0, "dim1")),
        ["swapaxes"] = n => Swap(n, n.Long(0, "dim0", "axis0"), n.Long(0, "dim1", "axis1")),
        ["swapdims"] = n => Swap(n, n.Long(0, "dim0"), n.Long(0, "dim1")),
        ["t"] = n => n.Input(0).Rank < 2 ? Same(n) : Swap(n, 0, 1),
        ["get_T"] = n => [n.Builder.Permute(n.Input(0), [.. Enumerable.Range(0, n.Input(0).Rank).Reverse()])],
        ["get_mT"] = n => Swap(n, -1, -2),
        ["movedim"] = Move,
        ["moveaxis"] = Move,
        ["expand"] = Expand,
        ["expand_as"] = Expand,
        ["broadcast_to"] = Expand,
        ["broadcast_tensors"] = n => [.. n.Inputs(0).Select(x => Expand(n.Builder, x, n.Shape))],
        ["repeat"] = Repeat,
        ["tile"] = Repeat,
        ["repeat_interleave"] = RepeatInterleave,
        ["select"] = n => [Select(n.Builder, n.Input(0), Axes.Normal(n.Long(0, "dim"), n.Input(0).Rank), n.Long(0, "index"))],
        ["narrow"] = n => [Slice(n.Builder, n.Input(0), Axes.Normal(n.Long(0, "dim"), n.Input(0).Rank), (int)n.Long(0, "start"), (int)(n.Long(0, "start") + n.Long(0, "length")))],
        ["slice"] = n => [Slice(n.Builder, n.Input(0), Axes.Normal(n.Long(0, "dim"), n.Input(0).Rank), Bound(n.Long(0, "start"), n), Bound(n.Long(0, "finish"), n), (int)n.Long(1, "step"))],
        ["index"] = Index,
        ["get_TensorItems"] = Index,
        ["flip"] = Flip,
        ["roll"] = Roll,
        ["tril"] = n => Triangle(n, (x, d) => x.tril(d)),
        ["triu"] = n => Triangle(n, (x, d) => x.triu(d)),
        ["channel_shuffle"] = ChannelShuffle,
        ["pad"] = Paddings.Pad,
    };

    /// <summary>A part of an axis, from a first element up to but without a last.</summary>
    internal static View Slice(GraphBuilder builder, View x, int axis, int start, int end, int step = 1)
    {
        if (start == 0 && end >= x.Shape[axis] && step == 1)
            return x;
        if (x.IsReshaped)
            x = new View(builder.Plain(x));
        end = Math.Min(end, x.Shape[axis]);
        int[] shape = [.. x.Shape], begins = new int[x.Rank], ends = [.. x.Tensor.Shape], steps = [.. Enumerable.Repeat(1, x.Rank)];
        shape[axis] = (end - start + step - 1) / step;
        int place = x.Order[axis];
        (begins[place], ends[place], steps[place]) = (start, end, step);
        int[] physical = Axes.Pick(shape, Axes.Inverse(x.Order));
        var part = step == 1
            ? builder.Emit(BuiltinOp.Slice, [x.Tensor, GraphBuilder.Ints(begins), GraphBuilder.Ints(physical)], physical, x.Type)
            : builder.Emit(BuiltinOp.StridedSlice, [x.Tensor, GraphBuilder.Ints(begins), GraphBuilder.Ints(ends), GraphBuilder.Ints(steps)], physical, x.Type);
        return new View(part, x.Order, shape);
    }

    /// <summary>One index of an axis, which goes away.</summary>
    internal static View Select(GraphBuilder builder, View x, int axis, long index)
    {
        if (x.IsReshaped)
            x = new View(builder.Plain(x));
        int at = Axes.Normal(index, x.Shape[axis]), place = x.Order[axis];
        int[] begins = new int[x.Rank], ends = [.. x.Tensor.Shape];
        (begins[place], ends[place]) = (at, at + 1);
        var part = builder.Emit(BuiltinOp.StridedSlice, [x.Tensor, GraphBuilder.Ints(begins), GraphBuilder.Ints(ends), GraphBuilder.Ints([.. Enumerable.Repeat(1, x.Rank)])],
            Reductions.Without(x.Tensor.Shape, [place], keep: false), x.Type, ("shrink_axis_mask", 1 << place));
        return new View(part, Reductions.Remaining(x.Order, [axis]), Reductions.Without(x.Shape, [axis], keep: false));
    }

    internal static View Expand(GraphBuilder builder, View x, int[] shape)
    {
        if (x.Shape.SequenceEqual(shape))
            return x;
        x = builder.Reshape(x, [.. Enumerable.Repeat(1, shape.Length - x.Rank), .. x.Shape]);
        if (x.IsReshaped)
            x = new View(builder.Plain(x));
        int[] physical = Axes.Pick(shape, Axes.Inverse(x.Order));
        return new View(builder.Emit(BuiltinOp.BroadcastTo, [x.Tensor, GraphBuilder.Ints(physical)], physical, x.Type), x.Order, shape);
    }

    private static View[] Reshape(Node node) => [node.Builder.Reshape(node.Input(0), node.Shape)];

    private static View[] Same(Node node) => [node.Input(0)];

    private static View[] Cast(Node node) => [node.Operand(0, node.Type)];

    private static View[] Swap(Node node, long first, long second)
    {
        int rank = node.Input(0).Rank;
        int[] axes = Axes.Identity(rank);
        int a = Axes.Normal(first, rank), b = Axes.Normal(second, rank);
        (axes[a], axes[b]) = (b, a);
        return [node.Builder.Permute(node.Input(0), axes)];
    }

    private static View[] Move(Node node)
    {
        int rank = node.Input(0).Rank;
        int[] from = [.. node.Longs("source")!.Select(a => Axes.Normal(a, rank))], to = [.. node.Longs("destination")!.Select(a => Axes.Normal(a, rank))];
        List<int> axes = [.. Enumerable.Range(0, rank).Where(a => !from.Contains(a))];
        foreach (var (source, destination) in from.Zip(to).OrderBy(p => p.Second))
            axes.Insert(destination, source);
        return [node.Builder.Permute(node.Input(0), [.. axes])];
    }

    private static View[] Expand(Node node) => [Expand(node.Builder, node.Input(0), node.Shape)];

    private static View[] Repeat(Node node)
    {
        var x = node.Input(0);
        int[] times = [.. node.Longs("sizes", "reps", "dims")!.Select(t => (int)t)];
        if (times.Length < x.Rank)
            times = [.. Enumerable.Repeat(1, x.Rank - times.Length), .. times];
        x = node.Builder.Reshape(x, [.. Enumerable.Repeat(1, times.Length - x.Rank), .. x.Shape]);
        if (times.All(t => t == 1))
            return [x];
        if (x.IsReshaped)
            x = new View(node.Builder.Plain(x));
        int[] inverse = Axes.Inverse(x.Order);
        return [new View(node.Builder.Emit(BuiltinOp.Tile, [x.Tensor, GraphBuilder.Ints(Axes.Pick(times, inverse))], Axes.Pick(node.Shape, inverse), x.Type), x.Order, node.Shape)];
    }

    /// <summary>Each element several times: along a new axis that is merged.</summary>
    private static View[] RepeatInterleave(Node node)
    {
        if (node.Named("repeats") is not long times)
            throw node.Error("the number of repetitions must be one number");
        var x = node.Input(0);
        if (node.Longs("dim") is not { } dim)
        {
            x = node.Builder.Reshape(x, [checked((int)x.Tensor.Elements)]);
            dim = [0];
        }

        int axis = Axes.Normal(dim[0], x.Rank);
        var split = node.Builder.Reshape(x, [.. x.Shape[..(axis + 1)], 1, .. x.Shape[(axis + 1)..]]);
        var repeated = Expand(node.Builder, split, [.. x.Shape[..(axis + 1)], (int)times, .. x.Shape[(axis + 1)..]]);
        return [node.Builder.Reshape(repeated, node.Shape)];
    }

    private static int Bound(long bound, Node node)
    {
        int size = node.Input(0).Shape[Axes.Normal(node.Long(0, "dim"), node.Input(0).Rank)];
        return (int)Math.Clamp(bound < 0 ? bound + size : bound, 0, size);
    }

    /// <summary><c>x[…]</c> with numbers, slices, new axes, an ellipsis, and one tensor of indices.</summary>
    private static View[] Index(Node node)
    {
        var builder = node.Builder;
        var x = node.Input(0);
        object?[] indices = node.Argument(1) switch
        {
            object?[] list => list,
            long[] numbers => [.. numbers.Cast<object?>()],
            _ => [.. Enumerable.Range(1, node.Arguments - 1).Select(node.Argument)],
        };
        if (indices.Count(i => i is CapturedTensor) > 1)
            throw node.Error("several tensors of indices in one index have no op in LiteRT");
        int axis = 0;
        foreach (var (index, i) in indices.Select((index, i) => (index, i)))
        {
            switch (index)
            {
                case CapturedTensor { Dtype: ScalarType.Bool }:
                    throw node.Error("the shape of a selection by truth values depends on these; use torch.where");
                case CapturedTensor:
                    var places = node.Find(index);
                    x = Lookups.Gather(builder, x, places, axis);
                    axis += places.Rank;
                    break;
                case long number:
                    x = Select(builder, x, axis, number);
                    break;
                case TensorIndex part:
                    x = Part(node, x, part, ref axis, indices.Skip(i + 1));
                    break;
                default:
                    throw node.Error($"the index {index ?? "null"} is not known");
            }
        }

        return [builder.Reshape(x, node.Shape)];
    }

    private static View Part(Node node, View x, TensorIndex part, ref int axis, IEnumerable<object?> rest)
    {
        switch (IndexParts.KindOf(part))
        {
            case "Single":
                return Select(node.Builder, x, axis, IndexParts.Single(part));
            case "Slice":
                var (start, stop, step) = IndexParts.Slice(part);
                int size = x.Shape[axis];
                int Clamped(long bound) => (int)Math.Clamp(bound < 0 ? bound + size : bound, 0, size);
                return Slice(node.Builder, x, axis++, Clamped(start ?? 0), Clamped(stop ?? size), (int)(step ?? 1));
            case "Null":
                return node.Builder.Reshape(x, [.. x.Shape[..axis], 1, .. x.Shape[axis++..]]);
            case "Ellipsis":
                axis = x.Rank - rest.Count(r => r is not TensorIndex other || IndexParts.KindOf(other) is not ("Null" or "Ellipsis"));
                return x;
            case var kind:
                throw node.Error($"an index of the kind {kind} has no op in LiteRT");
        }
    }

    private static View[] Flip(Node node)
    {
        var x = node.Input(0);
        if (x.IsReshaped)
            x = new View(node.Builder.Plain(x));
        foreach (long dim in node.Longs("dims")!)
            x = x with { Tensor = node.Builder.Emit(BuiltinOp.ReverseV2, [x.Tensor, GraphBuilder.Ints(x.Order[Axes.Normal(dim, x.Rank)])], x.Tensor.Shape, x.Type) };
        return [x];
    }

    private static View[] Roll(Node node)
    {
        var x = node.Input(0);
        long[] shifts = node.Longs("shifts")!, dims = node.Longs("dims") ?? throw node.Error("name the axes to roll along");
        foreach (var (shift, dim) in shifts.Zip(dims))
        {
            int axis = Axes.Normal(dim, x.Rank), size = x.Shape[axis], cut = (int)(((-shift % size) + size) % size);
            if (cut == 0)
                continue;
            x = Joins.Concatenate(node.Builder, [Slice(node.Builder, x, axis, cut, size), Slice(node.Builder, x, axis, 0, cut)], axis);
        }

        return [x];
    }

    /// <summary>Channels in groups are dealt out one by one: [N, g, C/g, …] with two axes swapped.</summary>
    private static View[] ChannelShuffle(Node node)
    {
        var x = node.Input(0);
        int groups = (int)node.Long(1, "groups");
        var split = node.Builder.Reshape(x, [x.Shape[0], groups, x.Shape[1] / groups, .. x.Shape[2..]]);
        return [node.Builder.Reshape(node.Builder.Permute(split, [0, 2, 1, .. Enumerable.Range(3, split.Rank - 3)]), x.Shape)];
    }

    private static View[] Triangle(Node node, Func<Tensor, long, Tensor> cut)
    {
        var x = node.Input(0);
        var mask = cut(ones(x.Shape[^2], x.Shape[^1], ScalarType.Bool), node.Long(0, "diagonal"));
        return [Comparisons.Select(node.Builder, new View(GraphBuilder.Constant(mask)), x, Arithmetic.Number(0, x.Type))];
    }
}
