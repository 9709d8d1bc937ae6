using QwixSharp.LiteRT.FlatBuffers;
using QwixSharp.LiteRT.Graphs;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Lowering;

/// <summary>Adds ops to a graph, and brings tensors into the order of axes that an op needs.</summary>
internal sealed class GraphBuilder(Graph graph)
{
    private readonly Dictionary<(GraphTensor, BuiltinOp, string), GraphTensor> _rearranged = [];

    internal Graph Graph => graph;

    /// <summary>Where the ops come from that are added now.</summary>
    internal string Place { get; set; } = "";

    internal static GraphTensor Constant(Tensor values, string name = "", string place = "") =>
        new(ElementTypes.Of(values.dtype, place), [.. values.shape.Select(s => checked((int)s))], name) { Constant = values };

    /// <summary>A constant made of another by moving its elements; its codes stay what they are.</summary>
    internal static GraphTensor Moved(GraphTensor source, Tensor values)
    {
        var moved = Constant(values, source.Name);
        moved.FakeQuant = source.FakeQuant;
        return moved;
    }

    internal static GraphTensor Ints(params int[] values) => Constant(tensor(values));

    internal static GraphTensor Scalar(double value, LiteRtType type) => Constant(tensor(value).to(ElementTypes.ToTorch(type)));

    /// <summary>Adds an op with one result.</summary>
    internal GraphTensor Emit(BuiltinOp op, GraphTensor?[] inputs, int[] shape, LiteRtType type, params (string Name, double Value)[] options)
    {
        var output = new GraphTensor(type, shape);
        graph.Ops.Add(new GraphOp(op, Place) { Inputs = [.. inputs], Outputs = [output], Options = options.ToDictionary(o => o.Name, o => o.Value) });
        return output;
    }

    /// <summary>Adds an op with several results.</summary>
    internal GraphTensor[] EmitMany(BuiltinOp op, GraphTensor?[] inputs, int[][] shapes, LiteRtType type, params (string Name, double Value)[] options)
    {
        GraphTensor[] outputs = [.. shapes.Select(s => new GraphTensor(type, s))];
        graph.Ops.Add(new GraphOp(op, Place) { Inputs = [.. inputs], Outputs = [.. outputs], Options = options.ToDictionary(o => o.Name, o => o.Value) });
        return outputs;
    }

    /// <summary>An op that works on each element alone, whatever the order of the axes.</summary>
    internal View Unary(BuiltinOp op, View x, params (string Name, double Value)[] options) =>
        x with { Tensor = Emit(op, [x.Tensor], x.Tensor.Shape, x.Type, options) };

    internal View Cast(View x, LiteRtType type)
    {
        if (x.Type == type)
            return x;
        return x.Tensor.Constant is { } values
            ? x with { Tensor = Constant(values.to(ElementTypes.ToTorch(type)), x.Tensor.Name) }
            : x with { Tensor = Emit(BuiltinOp.Cast, [x.Tensor], x.Tensor.Shape, type, ("in_data_type", (int)x.Type), ("out_data_type", (int)type)) };
    }

    /// <summary>The tensor with the axes as the model sees them.</summary>
    internal GraphTensor Plain(View x) => Arrange(x, Axes.Identity(x.Rank));

    /// <summary>The tensor with axis i of what the model sees at <c>order[i]</c>.</summary>
    internal GraphTensor Arrange(View x, int[] order)
    {
        if (x.InOrder(order))
            return x.Tensor;
        int[] inverse = Axes.Inverse(order);
        int[] wanted = Axes.Pick(x.Shape, inverse);
        if (!x.IsReshaped)
            return Transpose(x.Tensor, Axes.Pick(x.Order, inverse));

        // The pending reshape merges and splits axes; where it can be done in the new order, one transpose is enough.
        var groups = Axes.Groups(x.Permuted, x.Shape);
        if (groups.All(g => Ascends(g.To, order, x.Shape)))
        {
            var sorted = groups.OrderBy(g => g.To.Where(a => x.Shape[a] != 1).Select(a => order[a]).DefaultIfEmpty(g.To.Length > 0 ? order[g.To[0]] : int.MaxValue).First());
            int[] permutation = Axes.Pick(x.Order, sorted.SelectMany(g => g.From));
            return Reshape(Transpose(x.Tensor, permutation), wanted);
        }

        return Transpose(Plain(x), inverse);
    }

    /// <summary>What the model sees after a reshape. It costs nothing here where it can be left to the next op.</summary>
    internal View Reshape(View x, int[] shape)
    {
        if (x.Shape.SequenceEqual(shape))
            return x;
        if (x.Tensor.Constant is not null)
            return new View(Reshape(Plain(x), shape));
        if (x.IsReshaped)
            return new View(x.Tensor, x.Order, shape);
        var groups = Axes.Groups(x.Shape, shape);
        var inOrder = groups.OrderBy(g => g.From.Where(a => x.Shape[a] != 1).Select(a => x.Order[a]).DefaultIfEmpty(g.From.Length > 0 ? x.Order[g.From[0]] : 0).First()).ToList();
        int[] spread = [.. inOrder.SelectMany(g => g.From).Where(a => x.Shape[a] != 1).Select(a => x.Order[a])];
        if (!spread.SequenceEqual(spread.Order()))
            return new View(x.Tensor, x.Order, shape);
        int[] axes = [.. inOrder.SelectMany(g => g.To)];
        return new View(Reshape(x.Tensor, Axes.Pick(shape, axes)), Axes.Inverse(axes), shape);
    }

    /// <summary>What the model sees after a permutation of its axes: axis i is axis <c>axes[i]</c> of before.</summary>
    internal View Permute(View x, int[] axes)
    {
        if (x.IsReshaped)
            x = new View(Plain(x));
        return new View(x.Tensor, Axes.Pick(x.Order, axes), Axes.Pick(x.Shape, axes));
    }

    /// <summary>Tensors of one broadcast: their axes in one order, which costs the least.</summary>
    internal (GraphTensor[] Tensors, int[] Order, int[] Shape) Align(params View[] views)
    {
        int rank = views.Max(v => v.Rank);
        int[] shape = Broadcast(views.Select(v => v.Shape), rank);
        var first = views[0];
        if (views.All(v => v.Order.SequenceEqual(first.Order) && v.Shape.SequenceEqual(first.Shape) && v.Tensor.Shape.SequenceEqual(first.Tensor.Shape)))
            return ([.. views.Select(v => v.Tensor)], first.Order, shape);
        if (views.Where(v => !IsScalar(v)).ToList() is [var only] && only.Rank == rank)
            return ([.. views.Select(v => IsScalar(v) ? ScalarOf(v) : v.Tensor)], only.Order, shape);

        int[] order = views.Where(v => !v.IsConstant && v.Rank == rank && !v.IsReshaped).OrderByDescending(v => v.Tensor.Elements).ThenBy(v => v.Order.SequenceEqual(Axes.Identity(rank))).Select(v => v.Order)
            .FirstOrDefault(Axes.Identity(rank));
        bool plain = order.SequenceEqual(Axes.Identity(rank));
        return ([.. views.Select(v => plain ? Plain(v) : Arrange(Reshape(v, [.. Enumerable.Repeat(1, rank - v.Rank), .. v.Shape]), order))], order, shape);
    }

    internal static int[] Broadcast(IEnumerable<int[]> shapes, int rank)
    {
        int[] result = [.. Enumerable.Repeat(1, rank)];
        foreach (var shape in shapes)
        {
            for (int i = 0; i < shape.Length; i++)
            {
                if (shape[i] != 1)
                    result[rank - shape.Length + i] = shape[i];
            }
        }

        return result;
    }

    internal GraphTensor Reshape(GraphTensor x, int[] shape)
    {
        if (x.Shape.SequenceEqual(shape))
            return x;
        if (x.Constant is { } values)
            return Moved(x, values.reshape([.. shape.Select(s => (long)s)]));
        return Cached(x, BuiltinOp.Reshape, shape, () => Emit(BuiltinOp.Reshape, [x, Ints(shape)], shape, x.Type));
    }

    /// <summary>Axis i of the result is axis <c>permutation[i]</c> of the tensor.</summary>
    internal GraphTensor Transpose(GraphTensor x, int[] permutation)
    {
        if (permutation.SequenceEqual(Axes.Identity(x.Rank)))
            return x;
        int[] shape = Axes.Pick(x.Shape, permutation);
        if (x.Constant is { } values)
            return Moved(x, values.permute([.. permutation.Select(a => (long)a)]));
        return Axes.MovesNothing(x.Shape, permutation)
            ? Reshape(x, shape)
            : Cached(x, BuiltinOp.Transpose, permutation, () => Emit(BuiltinOp.Transpose, [x, Ints(permutation)], shape, x.Type));
    }

    private GraphTensor Cached(GraphTensor x, BuiltinOp op, int[] how, Func<GraphTensor> make)
    {
        var key = (x, op, string.Join(',', how));
        return _rearranged.TryGetValue(key, out var known) ? known : _rearranged[key] = make();
    }

    private static bool Ascends(int[] axes, int[] order, int[] shape)
    {
        int[] places = [.. axes.Where(a => shape[a] != 1).Select(a => order[a])];
        return places.Length < 2 || places.Zip(places.Skip(1)).All(p => p.Second > p.First && Between(p.First, p.Second, order, shape));
    }

    /// <summary>Whether only axes of size one lie between two places.</summary>
    private static bool Between(int low, int high, int[] order, int[] shape) =>
        Enumerable.Range(0, order.Length).All(a => shape[a] == 1 || order[a] <= low || order[a] >= high);

    private static bool IsScalar(View x) => x.IsConstant && x.Tensor.Elements == 1;

    private static GraphTensor ScalarOf(View x) => x.Rank == 0 ? x.Tensor : Moved(x.Tensor, x.Tensor.Constant!.reshape([]));
}
