using QwixSharp.Arrays;
using QwixSharp.Kernels;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Convolutions;
using QwixSharp.Kernels.Passes;
using QwixSharp.Kernels.Weights;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Ops.Training;

/// <summary>
/// The gradients of a convolution on codes, with the library's own kernels: the codes of the forward pass meet a gradient
/// that is multiplied by their scales and then quantized itself.
/// </summary>
internal static unsafe class ConvolutionGradientOnCodes
{
    /// <summary>With fewer values in a window, libtorch's float32 gradient of a kernel is faster.</summary>
    private const long ShortestWindow = 24;

    /// <summary>The gradient of the input: a convolution of the gradient with the kernel turned around.</summary>
    /// <param name="gradient">(N, O, spatial).</param>
    /// <param name="factors">The scales of the kernel in the gradient's axes.</param>
    /// <param name="kernel">(O, features of a group, spatial) as the forward pass quantized it.</param>
    /// <param name="how">How the gradient is quantized once it is multiplied by the factors.</param>
    /// <param name="convolution">The convolution.</param>
    /// <returns>(N, C, spatial), the caller's; or null where the kernels cannot serve.</returns>
    internal static Tensor? TryOfInput(Tensor gradient, Tensor factors, QArray kernel, HowToQuantize how, ConvolutionGradient convolution)
    {
        if (!CanServe(gradient, kernel, how, convolution) || convolution.Strides.Any(s => s != 1))
            return null;
        long[] shape = kernel.Shape.ToArray();
        var padding = convolution.Padding.Select((p, i) => (Reach(i) - p.Low, Reach(i) - p.High)).ToArray();
        if (padding.Any(p => p is not ( >= 0, >= 0)))
            return null;

        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        using var incoming = Quantizer.Quantize(gradient * factors, how);
        long groups = convolution.Groups, outputs = shape[0] / groups;
        long[] exchanged = [groups * shape[1], outputs, .. shape[2..]];
        var codes = kernel.GetQValue()
            .reshape([groups, outputs, .. shape[1..]]).transpose(1, 2).reshape(exchanged)
            .flip([.. Enumerable.Range(2, shape.Length - 2).Select(axis => (long)axis)]);
        using var turned = new QArray(kernel.QType, exchanged, CodePacking.Pack(codes, kernel.QType), ones([.. shape.Select(_ => 1L)]));
        return ConvGeneralOp.Compute(
            incoming, turned, convolution.Strides, ConvPadding.Explicit(padding),
            lhsDilation: null, convolution.Dilation, dimensionNumbers: null, (int)groups, batchGroupCount: 1, preferredElementType: null).MoveToOuterDisposeScope();

        long Reach(int axis) => convolution.Dilation[axis] * (shape[axis + 2] - 1);
    }

    /// <summary>The gradient of the kernel: a product over all pixels of all images of the gradient and the input's windows.</summary>
    /// <param name="gradient">(N, O, spatial).</param>
    /// <param name="factors">The scales of the input in the gradient's axes.</param>
    /// <param name="input">(N, C, spatial) as the forward pass quantized it.</param>
    /// <param name="how">How the gradient is quantized once it is multiplied by the factors.</param>
    /// <param name="convolution">The convolution.</param>
    /// <param name="kernelShape">(O, C, spatial).</param>
    /// <returns>An array of the kernel's shape, the caller's; or null where the kernels cannot serve.</returns>
    internal static Tensor? TryOfKernel(Tensor gradient, Tensor factors, QArray input, HowToQuantize how, ConvolutionGradient convolution, long[] kernelShape)
    {
        if (!CanServe(gradient, input, how, convolution) || convolution.Groups != 1 || kernelShape[1..].Aggregate((a, b) => a * b) < ShortestWindow)
            return null;

        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        long outputs = kernelShape[0], depth = gradient.numel() / outputs;
        var (incoming, scales) = QuantizeChannels(gradient, factors, how);

        var shape = Shape(input, convolution, kernelShape);
        int threads = get_num_threads();
        var images = input.GetQValue().movedim([1], [-1]).contiguous();
        var windows = MemoryPool.Shared.Rent(depth * shape.WindowSize);
        WindowRows.Gather((sbyte*)TensorMemory.Address(images), input.Shape[0], shape, (sbyte*)windows.Pointer, threads);
        using var weight = PackedWeight.FromColumns((sbyte*)windows.Pointer, shape.WindowSize, depth, depth, threads);
        MemoryPool.Shared.Return(windows);
        var result = empty(outputs, shape.WindowSize, dtype: ScalarType.Float32);
        KernelGradients.Multiply(incoming, scales, weight, result);
        return result.reshape([outputs, .. kernelShape[2..], kernelShape[1]]).movedim([-1], [1]).contiguous().MoveToOuterDisposeScope();
    }

    /// <summary>
    /// The gradient times its factors (N, 1, 1…) with a scale an output feature or one for all, so that what the product
    /// contracts comes last: codes (O, N · spatial) and scales (O).
    /// </summary>
    private static (Tensor Codes, Tensor Scales) QuantizeChannels(Tensor gradient, Tensor factors, HowToQuantize how)
    {
        long[] shape = gradient.shape;
        long images = shape[0], outputs = shape[1], depth = gradient.numel() / outputs;
        if (how is not { ChannelwiseAxes: [1], TiledAxes.Count: 0 } || factors.dtype != ScalarType.Float32)
        {
            using var general = Quantizer.Quantize((gradient * factors).transpose(0, 1).contiguous(), how with { ChannelwiseAxes = [.. how.ChannelwiseAxes.Select(_ => 0)] });
            return (general.GetQValue().reshape(outputs, depth), general.Scale.reshape(-1).expand(outputs).contiguous());
        }

        Tensor values = gradient.contiguous(), multipliers = Multipliers(factors, images);
        Tensor codes = empty(outputs, depth, dtype: ScalarType.Int8), scales = empty(outputs, dtype: ScalarType.Float32);
        ChannelPass.OfChannels(
            Floats(values), images, outputs, depth / images, Floats(multipliers),
            CodeRange.OfBits(how.QType.Bits), (sbyte*)TensorMemory.Address(codes), Floats(scales), get_num_threads());
        return (codes, scales);
    }

    private static Tensor Multipliers(Tensor factors, long count) => factors.reshape(-1).expand(count).contiguous();

    private static float* Floats(Tensor tensor) => (float*)TensorMemory.Address(tensor);

    private static bool CanServe(Tensor gradient, QArray residual, HowToQuantize how, ConvolutionGradient convolution) =>
        !convolution.Transposed && convolution.Strides.Count is 1 or 2 && KernelGradients.CanServe(residual) && RowQuantization.IsAbsMax(gradient, how);

    /// <summary>The sizes; an image of one axis has height 1.</summary>
    private static ConvolutionShape Shape(QArray input, ConvolutionGradient convolution, long[] kernelShape)
    {
        bool flat = convolution.Strides.Count == 1;
        int x = flat ? 0 : 1;
        return new ConvolutionShape
        {
            Height = flat ? 1 : (int)input.Shape[2],
            Width = (int)input.Shape[^1],
            Channels = (int)kernelShape[1],
            OutChannels = (int)kernelShape[0],
            KernelHeight = flat ? 1 : (int)kernelShape[2],
            KernelWidth = (int)kernelShape[^1],
            StrideY = flat ? 1 : (int)convolution.Strides[0],
            StrideX = (int)convolution.Strides[x],
            PadTop = flat ? 0 : (int)convolution.Padding[0].Low,
            PadBottom = flat ? 0 : (int)convolution.Padding[0].High,
            PadLeft = (int)convolution.Padding[x].Low,
            PadRight = (int)convolution.Padding[x].High,
            DilationY = flat ? 1 : (int)convolution.Dilation[0],
            DilationX = (int)convolution.Dilation[x],
        };
    }
}
