using QwixSharp.LiteRT.FlatBuffers;
using QwixSharp.LiteRT.Graphs;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Lowering;

/// <summary>Pooling of signals and images.</summary>
internal static class Pools
{
    internal static readonly Dictionary<string, LowerOp> Ops = new()
    {
        ["max_pool1d"] = n => Max(n, 1),
        ["max_pool2d"] = n => Max(n, 2),
        ["avg_pool1d"] = n => Average(n, 1),
        ["avg_pool2d"] = n => Average(n, 2),
        ["adaptive_avg_pool1d"] = n => Adaptive(n, 1, BuiltinOp.AveragePool2D),
        ["adaptive_avg_pool2d"] = n => Adaptive(n, 2, BuiltinOp.AveragePool2D),
        ["adaptive_max_pool1d"] = n => Adaptive(n, 1, BuiltinOp.MaxPool2D),
        ["adaptive_max_pool2d"] = n => Adaptive(n, 2, BuiltinOp.MaxPool2D),
    };

    private static View[] Max(Node node, int axes)
    {
        var images = Convolutions.ToImages(node.Builder, node.Input(0), axes);
        if (node.PerAxis(axes, 1, "dilation").Any(d => d != 1))
            throw node.Error("LiteRT's pooling has no dilation");
        var (height, width) = Windows(node, images, axes);
        (images, bool same) = Convolutions.Pad(node.Builder, images, height, width, float.MinValue);
        return [Convolutions.FromImages(node.Builder, Pool(node.Builder, BuiltinOp.MaxPool2D, images, height, width, same), node.Shape)];
    }

    /// <summary>
    /// An average over windows. LiteRT leaves padding out of the average; where PyTorch counts it, it is added as zeros first,
    /// and where PyTorch does not but LiteRT cannot pad so, the average over the zeros is scaled up again.
    /// </summary>
    private static View[] Average(Node node, int axes)
    {
        var builder = node.Builder;
        var images = Convolutions.ToImages(builder, node.Input(0), axes);
        var (height, width) = Windows(node, images, axes);
        if (node.Named("divisor_override") is long divisor && divisor != height.Kernel * width.Kernel)
            throw node.Error("LiteRT's average has no divisor of its own");
        bool counts = node.Named("count_include_pad") is not false;
        int[] padding = Both(node.PerAxis(axes, 0, "padding"));
        bool inside = height.IsInside && width.IsInside;
        bool same = !inside && height.IsSame && width.IsSame && (!counts || padding.All(p => p == 0));
        if (!inside && !same)
            images = Convolutions.PadBy(builder, images, height, width, 0);
        var result = Pool(builder, BuiltinOp.AveragePool2D, images, height, width, same);
        if (!inside && !same)
        {
            var shares = Shares(height, counts ? padding[0] : 0).unsqueeze(1) * Shares(width, counts ? padding[1] : 0);
            if (shares.min().item<float>() < 1)
            {
                builder.Graph.Ops[^1].KeepsFractions = true;
                result = builder.Emit(BuiltinOp.Mul, [result, GraphBuilder.Constant(shares.reciprocal().reshape(1, height.Outputs, width.Outputs, 1))], result.Shape, result.Type);
            }
        }

        return [Convolutions.FromImages(builder, result, node.Shape)];
    }

    /// <summary>For each window along an axis, which part of it is counted: what lies in the image and in counted padding.</summary>
    private static Tensor Shares(Window window, int counted)
    {
        var shares = new float[window.Outputs];
        for (int i = 0; i < shares.Length; i++)
        {
            int start = (i * window.Stride) - window.Low;
            int end = Math.Min(start + window.Kernel, window.Size + counted);
            shares[i] = (end - Math.Max(start, -counted)) / (float)window.Kernel;
        }

        return tensor(shares);
    }

    private static View[] Adaptive(Node node, int axes, BuiltinOp op)
    {
        var builder = node.Builder;
        var images = Convolutions.ToImages(builder, node.Input(0), axes);
        int[] wanted = axes == 1 ? [1, node.Shape[^1]] : node.Shape[^2..];
        int[] size = [images.Shape[1], images.Shape[2]];
        GraphTensor result;
        if (size[0] % wanted[0] == 0 && size[1] % wanted[1] == 0)
            result = Pool(builder, op, images, Even(size[0], wanted[0]), Even(size[1], wanted[1]), false);
        else if (op == BuiltinOp.AveragePool2D)
            return [builder.Reshape(Resizing.AlongAxis(builder, Resizing.AlongAxis(builder, Convolutions.FromImages(builder, images, [images.Shape[0], images.Shape[3], size[0], size[1]]), 2, Averages(size[0], wanted[0])), 3, Averages(size[1], wanted[1])), node.Shape)];
        else
            result = builder.Plain(Uneven(builder, Uneven(builder, new View(images), 1, wanted[0]), 2, wanted[1]));
        return [Convolutions.FromImages(builder, result, node.Shape)];
    }

    private static Window Even(int size, int wanted) => new(size, size / wanted, size / wanted, 1, 0, 0);

    /// <summary>Rows of weights: result i is the average from ⌊i·size/wanted⌋ to ⌈(i+1)·size/wanted⌉.</summary>
    internal static Tensor Averages(int size, int wanted)
    {
        var matrix = zeros(wanted, size);
        for (int i = 0; i < wanted; i++)
        {
            var (start, end) = Span(i, size, wanted);
            matrix[i, TensorIndex.Slice(start, end)] = 1f / (end - start);
        }

        return matrix;
    }

    /// <summary>Maxima over spans of different lengths, one by one.</summary>
    private static View Uneven(GraphBuilder builder, View images, int axis, int wanted)
    {
        var maxima = Enumerable.Range(0, wanted).Select(i =>
        {
            var (start, end) = Span(i, images.Shape[axis], wanted);
            var span = Shapes.Slice(builder, images, axis, start, end);
            int[] shape = [.. images.Shape];
            shape[axis] = 1;
            return new View(builder.Emit(BuiltinOp.ReduceMax, [builder.Plain(span), GraphBuilder.Ints(axis)], shape, images.Type, ("keep_dims", 1)));
        });
        return Joins.Concatenate(builder, [.. maxima], axis);
    }

    private static (int Start, int End) Span(int i, int size, int wanted) => (i * size / wanted, (((i + 1) * size) + wanted - 1) / wanted);

    private static GraphTensor Pool(GraphBuilder builder, BuiltinOp op, GraphTensor images, Window height, Window width, bool same) =>
        builder.Emit(op, [images], [images.Shape[0], height.Outputs, width.Outputs, images.Shape[3]], images.Type,
            ("padding", same ? 0 : 1), ("stride_w", width.Stride), ("stride_h", height.Stride), ("filter_width", width.Kernel), ("filter_height", height.Kernel));

    private static (Window Height, Window Width) Windows(Node node, GraphTensor images, int axes)
    {
        int[] kernel = Both(node.PerAxis(axes, 1, "kernel_size"), 1);
        int[] stride = node.Longs("stride", "strides") is { Length: > 0 } ? Both(node.PerAxis(axes, 1, "stride", "strides"), 1) : kernel;
        int[] padding = Both(node.PerAxis(axes, 0, "padding"));
        int[] wanted = axes == 1 ? [1, node.Shape[^1]] : node.Shape[^2..];
        Window Along(int axis)
        {
            int size = images.Shape[axis + 1];
            // In ceil mode the last window may reach further than the padding.
            int reach = ((wanted[axis] - 1) * stride[axis]) + kernel[axis];
            return new Window(size, kernel[axis], stride[axis], 1, padding[axis], Math.Max(0, reach - size - padding[axis]));
        }

        return (Along(0), Along(1));
    }

    private static int[] Both(int[] numbers, int height = 0) => numbers.Length == 1 ? [height, numbers[0]] : numbers;
}
