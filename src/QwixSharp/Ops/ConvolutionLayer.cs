using QwixSharp.Arrays;
using QwixSharp.Kernels.Convolutions;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>A convolution of images with its weight packed for a kernel, and the type of its input's codes.</summary>
/// <param name="weight">[output features, features of a group, height, width].</param>
/// <param name="kernel">The packed weight.</param>
/// <param name="shape">The sizes but the image's own height and width.</param>
/// <param name="qtype">The type of the input's codes.</param>
internal sealed class ConvolutionLayer(QArray weight, ConvolutionKernel kernel, ConvolutionShape shape, QType qtype)
{
    /// <summary>The packed weight.</summary>
    internal ConvolutionKernel Kernel => kernel;

    /// <summary>The padding that the codes of an input should have around them.</summary>
    internal int Margin => kernel.Margin;

    /// <summary>Whether the layer's pass can end in a max pool.</summary>
    internal bool Pools => kernel.Pools;

    /// <summary>The type of the input's codes.</summary>
    internal QType QType => qtype;

    /// <summary>The weight.</summary>
    internal QArray Weight => weight;

    /// <summary>The layer, or null where the kernels do not serve it.</summary>
    /// <param name="weight">The weight.</param>
    /// <param name="qtype">The type of the input's codes.</param>
    /// <param name="strides">One an axis, as the others.</param>
    /// <param name="padding">In front and behind.</param>
    /// <param name="dilation">The spacing of the kernel's elements.</param>
    /// <param name="groups">Groups of features.</param>
    internal static ConvolutionLayer? TryMake(QArray weight, QType qtype, IReadOnlyList<long> strides, IReadOnlyList<(long Low, long High)> padding, IReadOnlyList<long> dilation, long groups)
    {
        if (weight.Rank != 4 || !KernelConvolution.IsByteInteger(weight) || qtype is not { Kind: QTypeKind.Integer, Bits: <= 8 } || weight.ZeroPoint is not null)
            return null;
        if (weight.Device.type != TorchSharp.DeviceType.CPU || weight.Dtype != ScalarType.Float32 || padding.Any(p => p is not { Low: >= 0, High: >= 0 }))
            return null;
        long[] sizes = weight.Shape.ToArray();
        if (weight.ScaleShape[1] > 1 || weight.ScaleShape[2] > 1 || weight.ScaleShape[3] > 1)
            return null;
        var shape = new ConvolutionShape
        {
            Height = int.MaxValue / 4,
            Width = int.MaxValue / 4,
            Channels = (int)(sizes[1] * groups),
            OutChannels = (int)sizes[0],
            KernelHeight = (int)sizes[2],
            KernelWidth = (int)sizes[3],
            StrideY = (int)strides[0],
            StrideX = (int)strides[1],
            PadTop = (int)padding[0].Low,
            PadBottom = (int)padding[0].High,
            PadLeft = (int)padding[1].Low,
            PadRight = (int)padding[1].High,
            DilationY = (int)dilation[0],
            DilationX = (int)dilation[1],
            Groups = (int)groups,
        };
        if (!shape.IsDepthwise && !KernelConvolution.HasEnoughWork(shape.GroupOutChannels, shape.WindowSize))
            return null;
        var form = weight.KernelForm(() => new PackedConvolutionForm(weight));
        return new ConvolutionLayer(weight, form.For(shape), shape, qtype);
    }

    /// <summary>Whether a call moves over its input as this layer does.</summary>
    internal bool Moves(long[]? strides, long[]? padding, long[]? dilation, long groups) =>
        Axis(strides, 0, 1) == shape.StrideY && Axis(strides, 1, 1) == shape.StrideX
        && Axis(padding, 0, 0) == shape.PadTop && shape.PadTop == shape.PadBottom && Axis(padding, 1, 0) == shape.PadLeft && shape.PadLeft == shape.PadRight
        && Axis(dilation, 0, 1) == shape.DilationY && Axis(dilation, 1, 1) == shape.DilationX && groups == shape.Groups;

    /// <summary>The shape of the result for the shape of a batch of images; null where the window does not fit.</summary>
    internal long[]? ResultShape(long[] input)
    {
        if (input.Length != 4 || input[0] == 0 || input[1] != shape.Channels || input[2] * input[3] is 0 or > int.MaxValue / 8)
            return null;
        var whole = shape with { Height = (int)input[2], Width = (int)input[3] };
        long height = input[2] + shape.PadTop + shape.PadBottom - ((long)shape.DilationY * (shape.KernelHeight - 1));
        long width = input[3] + shape.PadLeft + shape.PadRight - ((long)shape.DilationX * (shape.KernelWidth - 1));
        return height < 1 || width < 1 ? null : [input[0], shape.OutChannels, whole.OutHeight, whole.OutWidth];
    }

    /// <summary>The convolution by itself, in the general way.</summary>
    internal Tensor Compute(Tensor input, Tensor scale, Tensor? zeroPoint)
    {
        using var noGrad = no_grad();
        using var quantized = Quantizer.Quantize(input, qtype, scale, zeroPoint);
        var result = Compute(quantized, weight);
        if (!NotFinite.IsIn(input))
            return result;
        using var scope = NewDisposeScope();
        return result.add_(Compute(NotFinite.Marks(input), ones([1]).expand(weight.Shape.ToArray())), LastingNumber.Of(1));
    }

    /// <summary>The convolution by itself, in the general way, with the scale of each image's own values.</summary>
    internal Tensor Compute(Tensor input)
    {
        using var noGrad = no_grad();
        using var quantized = Quantizer.Quantize(input, new HowToQuantize { QType = qtype, ChannelwiseAxes = [0], Calibration = CalibrationMethod.AbsMax() });
        return Compute(quantized, weight);
    }

    private Tensor Compute(Operand input, Operand kernel) => ConvGeneralOp.Compute(
        input, kernel, [shape.StrideY, shape.StrideX], ConvPadding.Explicit((shape.PadTop, shape.PadBottom), (shape.PadLeft, shape.PadRight)),
        lhsDilation: null, [shape.DilationY, shape.DilationX], dimensionNumbers: null, shape.Groups, batchGroupCount: 1, preferredElementType: null);

    private static long Axis(long[]? numbers, int axis, long otherwise) => numbers is null ? otherwise : numbers.Length == 1 ? numbers[0] : numbers[axis];
}
