using QwixSharp.LiteRT.FlatBuffers;

namespace QwixSharp.LiteRT.Lowering;

/// <summary>Elements taken by index.</summary>
internal static class Lookups
{
    internal static readonly Dictionary<string, LowerOp> Ops = new()
    {
        ["index_select"] = n => [Gather(n.Builder, n.Input(0), n.Optional("index")!.Value, Axes.Normal(n.Long(0, "dim"), n.Input(0).Rank))],
        ["one_hot"] = OneHot,
    };

    /// <summary>Slices of an axis by index; the axes of the indices take its place.</summary>
    internal static View Gather(GraphBuilder builder, View x, View indices, int axis)
    {
        var table = builder.Plain(x);
        int[] shape = [.. x.Shape[..axis], .. indices.Shape, .. x.Shape[(axis + 1)..]];
        if (indices.Tensor.Constant is { } values && indices.Type == LiteRtType.Int64)
            indices = new View(GraphBuilder.Constant(values.to(TorchSharp.torch.ScalarType.Int32)), indices.Order, indices.Shape);
        return new View(builder.Emit(BuiltinOp.Gather, [table, builder.Plain(indices)], shape, x.Type, ("axis", axis), ("batch_dims", 0)));
    }

    private static View[] OneHot(Node node)
    {
        int classes = node.Shape[^1];
        var indices = node.Builder.Plain(node.Input(0));
        var type = node.Type;
        return [new View(node.Builder.Emit(BuiltinOp.OneHot, [indices, GraphBuilder.Scalar(classes, LiteRtType.Int32), GraphBuilder.Scalar(1, type), GraphBuilder.Scalar(0, type)], node.Shape, type, ("axis", -1)))];
    }
}
