using QwixSharp.LiteRT.FlatBuffers;
using QwixSharp.LiteRT.Graphs;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Lowering;

/// <summary>Convolutions. LiteRT's are of channels-last images, with weights of [out, height, width, in].</summary>
internal static class Convolutions
{
    internal static readonly Dictionary<string, LowerOp> Ops = new()
    {
        ["conv1d"] = n => Convolve(n, 1),
        ["conv2d"] = n => Convolve(n, 2),
        ["conv1d_padding"] = n => Convolve(n, 1),
        ["conv2d_padding"] = n => Convolve(n, 2),
        ["conv_transpose1d"] = n => Transposed(n, 1),
        ["conv_transpose2d"] = n => Transposed(n, 2),
    };

    /// <summary>Where the axes of a batch of channels-first images are in the file.</summary>
    internal static readonly int[] ChannelsLast = [0, 3, 1, 2];

    /// <summary>A batch of signals or images as channels-last images.</summary>
    internal static GraphTensor ToImages(GraphBuilder builder, View x, int axes)
    {
        if (x.Rank == axes + 1)
            x = builder.Reshape(x, [1, .. x.Shape]);
        if (axes == 1)
            x = builder.Reshape(x, [x.Shape[0], x.Shape[1], 1, x.Shape[2]]);
        return builder.Arrange(x, ChannelsLast);
    }

    /// <summary>What the model sees of channels-last images.</summary>
    internal static View FromImages(GraphBuilder builder, GraphTensor images, int[] shape)
    {
        var (n, h, w, c) = (images.Shape[0], images.Shape[1], images.Shape[2], images.Shape[3]);
        return builder.Reshape(new View(images, ChannelsLast, [n, c, h, w]), shape);
    }

    /// <summary>
    /// Padding before a windowed op: the op's own, if there is none or it is what LiteRT means by SAME, or an op of its own.
    /// </summary>
    /// <returns>The images to give the op, and whether it pads by SAME.</returns>
    internal static (GraphTensor Images, bool Same) Pad(GraphBuilder builder, GraphTensor images, Window height, Window width, double value = 0)
    {
        if (height.IsInside && width.IsInside)
            return (images, false);
        return height.IsSame && width.IsSame ? (images, true) : (PadBy(builder, images, height, width, value), false);
    }

    /// <summary>Padding as an op.</summary>
    internal static GraphTensor PadBy(GraphBuilder builder, GraphTensor images, Window height, Window width, double value)
    {
        int[] shape = [images.Shape[0], images.Shape[1] + height.Low + height.High, images.Shape[2] + width.Low + width.High, images.Shape[3]];
        var amounts = GraphBuilder.Constant(tensor(new[] { 0, 0, height.Low, height.High, width.Low, width.High, 0, 0 }).reshape(4, 2));
        return value == 0
            ? builder.Emit(BuiltinOp.Pad, [images, amounts], shape, images.Type)
            : builder.Emit(BuiltinOp.Padv2, [images, amounts, GraphBuilder.Scalar(value, images.Type)], shape, images.Type);
    }

    private static View[] Convolve(Node node, int axes)
    {
        var builder = node.Builder;
        var weight = Weight(node, axes);
        int groups = (int)node.Long(1, "groups");
        int[] stride = Spatial(node.PerAxis(axes, 1, "stride", "strides"), 1), dilation = Spatial(node.PerAxis(axes, 1, "dilation"), 1);
        int[] kernel = [weight.Shape[2], weight.Shape[3]];
        var images = ToImages(builder, node.Input(0), axes);
        int channels = images.Shape[3], features = weight.Shape[0];
        var (low, high) = Padding(node, axes, kernel, dilation);
        Window height = new(images.Shape[1], kernel[0], stride[0], dilation[0], low[0], high[0]), width = new(images.Shape[2], kernel[1], stride[1], dilation[1], low[1], high[1]);
        (images, bool same) = Pad(builder, images, height, width);

        bool depthwise = groups > 1 && groups == channels;
        var filter = builder.Transpose(weight.Tensor, depthwise ? [1, 2, 3, 0] : [0, 2, 3, 1]);
        (string, double)[] options =
        [
            ("padding", same ? 0 : 1), ("stride_w", stride[1]), ("stride_h", stride[0]), ("dilation_w_factor", dilation[1]), ("dilation_h_factor", dilation[0]),
            .. depthwise ? new (string, double)[] { ("depth_multiplier", features / channels) } : [],
        ];
        int[] shape = [images.Shape[0], height.Outputs, width.Outputs, features];
        var result = builder.Emit(depthwise ? BuiltinOp.DepthwiseConv2D : BuiltinOp.Conv2D, [images, filter, Bias(node, features)], shape, LiteRtType.Float32, options);
        return [FromImages(builder, result, node.Shape)];
    }

    /// <summary>The weight as [out, in, height, width].</summary>
    private static View Weight(Node node, int axes)
    {
        var weight = node.Optional("weight")!.Value;
        if (!weight.IsConstant)
            throw node.Error("its weight is computed from the inputs; LiteRT's convolutions take constant weights here");
        return axes == 1 ? node.Builder.Reshape(weight, [weight.Shape[0], weight.Shape[1], 1, weight.Shape[2]]) : weight;
    }

    private static GraphTensor Bias(Node node, int features) =>
        node.Optional("bias") is { } bias ? node.Builder.Plain(bias) : GraphBuilder.Constant(zeros(features));

    private static int[] Spatial(int[] numbers, int height) => numbers.Length == 1 ? [height, numbers[0]] : numbers;

    private static (int[] Low, int[] High) Padding(Node node, int axes, int[] kernel, int[] dilation)
    {
        if (node.Named("padding") is TorchSharp.Padding kind)
        {
            // PyTorch puts an odd element behind, as LiteRT does.
            int[] total = [.. kernel.Select((k, i) => kind == TorchSharp.Padding.Same ? dilation[i] * (k - 1) : 0)];
            return ([.. total.Select(t => t / 2)], [.. total.Select(t => t - (t / 2))]);
        }

        int[] both = Spatial(node.PerAxis(axes, 0, "padding"), 0);
        return (both, both);
    }

    /// <summary>
    /// A transposed convolution. Padding cuts off the edges of its result: LiteRT does it where SAME means the same, else a slice
    /// does. Groups are computed each on their own.
    /// </summary>
    private static View[] Transposed(Node node, int axes)
    {
        var builder = node.Builder;
        var weight = Weight(node, axes);
        int groups = (int)node.Long(1, "groups");
        int[] stride = Spatial(node.PerAxis(axes, 1, "stride", "strides"), 1), dilation = Spatial(node.PerAxis(axes, 1, "dilation"), 1);
        int[] padding = Spatial(node.PerAxis(axes, 0, "padding"), 0), extra = Spatial(node.PerAxis(axes, 0, "output_padding"), 0);
        var values = Dilated(builder.Plain(weight).Constant!, dilation);
        var images = ToImages(builder, node.Input(0), axes);
        int perGroup = (int)values.shape[1], features = perGroup * groups;
        var bias = Bias(node, features);
        View[] inputs = groups == 1 ? [new View(images)] : Joins.Split(builder, new View(images), 3, [.. Enumerable.Repeat(images.Shape[3] / groups, groups)]);
        List<View> results = [];
        for (int g = 0; g < groups; g++)
        {
            var part = values.narrow(0, g * inputs[g].Shape[3], inputs[g].Shape[3]).permute(1, 2, 3, 0);
            var partBias = groups == 1 ? bias : GraphBuilder.Constant(bias.Constant!.narrow(0, g * perGroup, perGroup));
            results.Add(new View(TransposedGroup(builder, builder.Plain(inputs[g]), GraphBuilder.Moved(weight.Tensor, part), partBias, stride, padding, extra)));
        }

        var joined = groups == 1 ? results[0] : Joins.Concatenate(builder, [.. results], 3);
        return [FromImages(builder, builder.Plain(joined), node.Shape)];
    }

    private static GraphTensor TransposedGroup(GraphBuilder builder, GraphTensor images, GraphTensor filter, GraphTensor bias, int[] stride, int[] padding, int[] extra)
    {
        int[] kernel = [filter.Shape[1], filter.Shape[2]], size = [images.Shape[1], images.Shape[2]];
        int[] wanted = [.. size.Select((s, i) => ((s - 1) * stride[i]) - (2 * padding[i]) + kernel[i] + extra[i])];
        bool none = padding.All(p => p == 0) && extra.All(e => e == 0);
        bool same = !none && Enumerable.Range(0, 2).All(i => wanted[i] == size[i] * stride[i] && Math.Max(0, kernel[i] - stride[i]) / 2 == padding[i]);
        int[] whole = same ? wanted : [.. wanted.Select((w, i) => Math.Max(((size[i] - 1) * stride[i]) + kernel[i], w + padding[i]))];
        int[] shape = [images.Shape[0], whole[0], whole[1], filter.Shape[0]];
        var result = builder.Emit(BuiltinOp.TransposeConv, [GraphBuilder.Ints(shape), filter, images, bias], shape, LiteRtType.Float32,
            ("padding", same ? 0 : 1), ("stride_w", stride[1]), ("stride_h", stride[0]));
        if (same || whole.SequenceEqual(wanted))
            return result;
        int[] cut = [shape[0], wanted[0], wanted[1], shape[3]];
        return builder.Emit(BuiltinOp.Slice, [result, GraphBuilder.Ints(0, padding[0], padding[1], 0), GraphBuilder.Ints(cut)], cut, LiteRtType.Float32);
    }

    /// <summary>A kernel with zeros between its elements: LiteRT's transposed convolution has no dilation.</summary>
    private static Tensor Dilated(Tensor kernel, int[] dilation)
    {
        if (dilation.All(d => d == 1))
            return kernel;
        var spread = zeros(kernel.shape[0], kernel.shape[1], ((kernel.shape[2] - 1) * dilation[0]) + 1, ((kernel.shape[3] - 1) * dilation[1]) + 1);
        spread[TensorIndex.Colon, TensorIndex.Colon, TensorIndex.Slice(step: dilation[0]), TensorIndex.Slice(step: dilation[1])] = kernel;
        return spread;
    }
}
