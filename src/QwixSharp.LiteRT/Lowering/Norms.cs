using QwixSharp.LiteRT.FlatBuffers;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Lowering;

/// <summary>Normalizations. LiteRT has no op for them; each is as few ops as it takes, and its constants go into neighbours later.</summary>
internal static class Norms
{
    internal static readonly Dictionary<string, LowerOp> Ops = new()
    {
        ["layer_norm"] = LayerNorm,
        ["group_norm"] = GroupNorm,
        ["instance_norm"] = InstanceNorm,
        ["batch_norm"] = BatchNorm,
        ["normalize"] = Normalize,
        ["local_response_norm"] = LocalResponseNorm,
    };

    private static View[] LayerNorm(Node node)
    {
        var x = node.Input(0);
        int axes = node.Longs("normalized_shape")!.Length;
        var normal = Standardized(node.Builder, x, [.. Enumerable.Range(x.Rank - axes, axes)], node.Double(1e-5, "eps"));
        return [Affine(node.Builder, normal, node.Optional("weight"), node.Optional("bias"))];
    }

    private static View[] GroupNorm(Node node)
    {
        var x = node.Input(0);
        int groups = (int)node.Long(1, "num_groups");
        var split = node.Builder.Reshape(x, [x.Shape[0], groups, x.Shape[1] / groups, .. x.Shape[2..]]);
        var normal = Standardized(node.Builder, split, [.. Enumerable.Range(2, split.Rank - 2)], node.Double(1e-5, "eps"));
        return [PerChannel(node, node.Builder.Reshape(normal, x.Shape))];
    }

    private static View[] InstanceNorm(Node node)
    {
        var x = node.Input(0);
        if (!node.Bool("use_input_stats"))
            return BatchNorm(node);
        return [PerChannel(node, Standardized(node.Builder, x, [.. Enumerable.Range(2, x.Rank - 2)], node.Double(1e-5, "eps")))];
    }

    /// <summary>With fixed statistics it is a scale and a shift for each channel, which a convolution before it takes in.</summary>
    private static View[] BatchNorm(Node node)
    {
        if (node.Bool("training") || node.Optional("running_mean") is not { IsConstant: true } mean || node.Optional("running_var") is not { IsConstant: true } variance)
            throw node.Error("it takes statistics from the batch; LiteRT needs fixed ones: call eval(), and let it track running statistics");
        var scale = (variance.Tensor.Constant!.to(ScalarType.Float64) + node.Double(1e-5, "eps")).rsqrt();
        if (node.Optional("weight") is { } weight)
            scale = scale * weight.Tensor.Constant!.to(ScalarType.Float64);
        var shift = -mean.Tensor.Constant!.to(ScalarType.Float64) * scale;
        if (node.Optional("bias") is { } bias)
            shift = shift + bias.Tensor.Constant!.to(ScalarType.Float64);
        var x = node.Input(0);
        var scaled = Arithmetic.Combine(node.Builder, BuiltinOp.Mul, x, Channels(scale.to(ScalarType.Float32), x.Rank));
        return [Arithmetic.Combine(node.Builder, BuiltinOp.Add, scaled, Channels(shift.to(ScalarType.Float32), x.Rank))];
    }

    /// <summary>x / max(‖x‖₂, ε).</summary>
    private static View[] Normalize(Node node)
    {
        if (node.Double(2, "p") != 2)
            throw node.Error("of the norms, the Euclidean can be exported");
        var builder = node.Builder;
        var x = node.Input(0);
        var squares = Reductions.Reduce(builder, BuiltinOp.Sum, Arithmetic.Combine(builder, BuiltinOp.Mul, x, x), [Axes.Normal(node.Long(1, "dim"), x.Rank)], keep: true);
        var norm = Arithmetic.Combine(builder, BuiltinOp.Maximum, builder.Unary(BuiltinOp.Sqrt, squares), Arithmetic.Number(node.Double(1e-12, "eps")));
        return [Arithmetic.Combine(builder, BuiltinOp.Div, x, norm)];
    }

    /// <summary>Krizhevsky et al. 2012: x / (k + α · mean of squares over neighbouring channels)^β.</summary>
    private static View[] LocalResponseNorm(Node node)
    {
        var builder = node.Builder;
        var x = node.Input(0);
        int size = (int)node.Long(5, "size"), channels = x.Shape[1];
        var band = (arange(channels).unsqueeze(0) - arange(channels).unsqueeze(1)) is var distance ? distance.ge(-(size / 2)).logical_and(distance.le((size - 1) / 2)) : null!;
        var sums = Resizing.AlongAxis(builder, Arithmetic.Combine(builder, BuiltinOp.Mul, x, x), 1, band.to(ScalarType.Float32) * (node.Double(1e-4, "alpha") / size));
        var power = Arithmetic.Combine(builder, BuiltinOp.Pow, Arithmetic.Combine(builder, BuiltinOp.Add, sums, Arithmetic.Number(node.Double(1, "k"))), Arithmetic.Number(-node.Double(0.75, "beta")));
        return [Arithmetic.Combine(builder, BuiltinOp.Mul, x, power)];
    }

    /// <summary>(x − mean) / √(variance + ε), over some axes.</summary>
    private static View Standardized(GraphBuilder builder, View x, int[] axes, double epsilon)
    {
        var centred = Arithmetic.Combine(builder, BuiltinOp.Sub, x, Reductions.Reduce(builder, BuiltinOp.Mean, x, axes, keep: true));
        var variance = Reductions.Reduce(builder, BuiltinOp.Mean, Arithmetic.Combine(builder, BuiltinOp.Mul, centred, centred), axes, keep: true);
        var factor = builder.Unary(BuiltinOp.Rsqrt, Arithmetic.Combine(builder, BuiltinOp.Add, variance, Arithmetic.Number(epsilon)));
        return Arithmetic.Combine(builder, BuiltinOp.Mul, centred, factor);
    }

    private static View PerChannel(Node node, View x) => Affine(
        node.Builder, x,
        node.Optional("weight") is { } weight ? Channels(node.Builder.Plain(weight).Constant!, x.Rank) : null,
        node.Optional("bias") is { } bias ? Channels(node.Builder.Plain(bias).Constant!, x.Rank) : null);

    private static View Affine(GraphBuilder builder, View x, View? weight, View? bias)
    {
        if (weight is { } scale)
            x = Arithmetic.Combine(builder, BuiltinOp.Mul, x, scale);
        return bias is { } shift ? Arithmetic.Combine(builder, BuiltinOp.Add, x, shift) : x;
    }

    /// <summary>A number for each channel, the axis after the batch.</summary>
    private static View Channels(Tensor values, int rank) => new(GraphBuilder.Constant(values.reshape([-1, .. Enumerable.Repeat(1L, Math.Max(0, rank - 2))])));
}
