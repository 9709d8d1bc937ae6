using QwixSharp.Arrays;
using QwixSharp.Numerics;
using QwixSharp.Ops.Training;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Ops.Training;

/// <summary>The gradients of a convolution on the kernels, against libtorch's of the same rounded numbers.</summary>
public class ConvolutionGradientOnCodesTests
{
    private static readonly HowToQuantize PerImage = new() { QType = QType.Int8, ChannelwiseAxes = [0] };
    private static readonly HowToQuantize PerFeature = PerImage with { ChannelwiseAxes = [1] };

    [Theory]
    [InlineData("int8", 1, 1, 1)]
    [InlineData("int8", 0, 1, 1)]
    [InlineData("int4", 2, 1, 1)]
    [InlineData("int8", 1, 2, 1)]
    [InlineData("int8", 2, 1, 2)]
    [InlineData("int8", 3, 3, 2)]
    public void GradientsAreThoseOfTheRoundedNumbers(string type, long padding, long stride, long dilation)
    {
        using var scope = NewDisposeScope();
        var convolution = new ConvolutionGradient([stride, stride], [(padding, padding), (padding, padding)], [dilation, dilation], 1, false, [0, 0]);
        using var input = Qwix.Quantize(ProductChecks.Random(1, 3, 10, 9, 8), type, [0]);
        using var kernel = Qwix.Quantize(ProductChecks.Random(2, 12, 10, 3, 2), type, [0]);
        var gradient = ProductChecks.Random(3, Convolve(input.Dequantize(), kernel.Dequantize(), convolution).shape);

        var ofInput = ConvolutionGradientOnCodes.TryOfInput(gradient, kernel.Scale.reshape(1, -1, 1, 1), kernel, PerImage, convolution);
        // Padding beyond the kernel's reach gives pixels that no gradient comes from.
        if (stride > 1 || padding > dilation)
            Assert.Null(ofInput);
        else
            AssertClose(convolution.OfInput(Rounded(gradient * kernel.Scale.reshape(1, -1, 1, 1), PerImage), input.Shape.ToArray(), Codes(kernel)), ofInput!);
        var ofKernel = ConvolutionGradientOnCodes.TryOfKernel(gradient, input.Scale, input, PerFeature, convolution, kernel.Shape.ToArray())!;
        AssertClose(convolution.OfKernel(Rounded(gradient * input.Scale, PerFeature), Codes(input), kernel.Shape.ToArray()), ofKernel);
    }

    [Fact]
    public void OneAxisAndUnevenPaddingAndOneScaleForAllAreServed()
    {
        using var scope = NewDisposeScope();
        var convolution = new ConvolutionGradient([1], [(2, 0)], [1], 1, false, [0]);
        using var input = Qwix.Quantize(ProductChecks.Random(1, 1, 16, 9), "int8", []);
        using var kernel = Qwix.Quantize(ProductChecks.Random(2, 8, 16, 3), "int8", []);
        var gradient = ProductChecks.Random(3, 1, 8, 9);
        var oneScale = PerImage with { ChannelwiseAxes = [] };
        var before = gradient.clone();

        AssertClose(
            convolution.OfInput(Rounded(gradient * kernel.Scale, oneScale), [1, 16, 9], Codes(kernel)),
            ConvolutionGradientOnCodes.TryOfInput(gradient, kernel.Scale, kernel, oneScale, convolution)!);
        AssertClose(
            convolution.OfKernel(Rounded(gradient * input.Scale, oneScale), Codes(input), [8, 16, 3]),
            ConvolutionGradientOnCodes.TryOfKernel(gradient, input.Scale, input, oneScale, convolution, [8, 16, 3])!);
        ProductChecks.AssertEqual(before, gradient);
    }

    [Fact]
    public void MorePixelsThanATileOfThePackedWindowsHolds()
    {
        using var scope = NewDisposeScope();
        var convolution = new ConvolutionGradient([1], [(1, 1)], [1], 1, false, [0]);
        using var input = Qwix.Quantize(ProductChecks.Random(1, 1, 8, 70001), "int8", [0]);
        var gradient = ProductChecks.Random(3, 1, 4, 70001);

        AssertClose(
            convolution.OfKernel(Rounded(gradient * input.Scale, PerFeature), Codes(input), [4, 8, 3]),
            ConvolutionGradientOnCodes.TryOfKernel(gradient, input.Scale, input, PerFeature, convolution, [4, 8, 3])!);
    }

    [Fact]
    public void GroupsOfFeaturesAreTurnedEachByItself()
    {
        using var scope = NewDisposeScope();
        var convolution = new ConvolutionGradient([1, 1], [(1, 1), (1, 1)], [1, 1], 2, false, [0, 0]);
        using var kernel = Qwix.Quantize(ProductChecks.Random(2, 6, 9, 3, 3), "int8", [0]);
        using var input = Qwix.Quantize(ProductChecks.Random(1, 2, 18, 5, 5), "int8", [0]);
        var gradient = ProductChecks.Random(3, 2, 6, 5, 5);
        var factors = kernel.Scale.reshape(1, -1, 1, 1);

        AssertClose(
            convolution.OfInput(Rounded(gradient * factors, PerImage), [2, 18, 5, 5], Codes(kernel)),
            ConvolutionGradientOnCodes.TryOfInput(gradient, factors, kernel, PerImage, convolution)!);
        Assert.Null(ConvolutionGradientOnCodes.TryOfKernel(gradient, input.Scale, input, PerFeature, convolution, kernel.Shape.ToArray()));
    }

    [Fact]
    public void WhatTheKernelsCannotServeIsLeftToTheGeneralWay()
    {
        using var scope = NewDisposeScope();
        var convolution = new ConvolutionGradient([1, 1], [(1, 1), (1, 1)], [1, 1], 1, false, [0, 0]);
        using var input = Qwix.Quantize(ProductChecks.Random(1, 2, 2, 5, 5), "int8", [0]);
        using var kernel = Qwix.Quantize(ProductChecks.Random(2, 8, 2, 3, 3), "int8", [0]);
        using var fp8 = Qwix.Quantize(ProductChecks.Random(2, 8, 2, 3, 3), "float8_e4m3fn", [0]);
        var gradient = ProductChecks.Random(3, 2, 8, 5, 5);
        Tensor factors = kernel.Scale.reshape(1, -1, 1, 1), wide = gradient.to(ScalarType.Float64);

        Assert.NotNull(ConvolutionGradientOnCodes.TryOfInput(gradient, factors, kernel, PerImage, convolution));
        Assert.Null(ConvolutionGradientOnCodes.TryOfInput(gradient, factors, fp8, PerImage, convolution));
        Assert.Null(ConvolutionGradientOnCodes.TryOfInput(wide, factors, kernel, PerImage, convolution));
        Assert.Null(ConvolutionGradientOnCodes.TryOfInput(gradient, factors, kernel, PerImage, convolution with { Transposed = true }));
        Assert.Null(ConvolutionGradientOnCodes.TryOfInput(gradient, factors, kernel, PerImage, convolution with { Padding = [(3, 3), (1, 1)] }));
        // A window of 18 values.
        Assert.Null(ConvolutionGradientOnCodes.TryOfKernel(gradient, input.Scale, input, PerFeature, convolution, kernel.Shape.ToArray()));
    }

    [Fact]
    public void NothingLeaks()
    {
        using var gradient = ProductChecks.Random(1, 2, 8, 5, 5);
        using var input = Qwix.Quantize(ProductChecks.Random(1, 2, 8, 5, 5), "int8", [0]);
        using var kernel = Qwix.Quantize(ProductChecks.Random(2, 8, 8, 3, 3), "int8", [0]);
        var convolution = new ConvolutionGradient([1, 1], [(1, 1), (1, 1)], [1, 1], 1, false, [0, 0]);
        using var factors = kernel.Scale.reshape(1, -1, 1, 1);

        ProductChecks.AssertLeaksNothing(() => ConvolutionGradientOnCodes.TryOfInput(gradient, factors, kernel, PerImage, convolution)!);
        ProductChecks.AssertLeaksNothing(() => ConvolutionGradientOnCodes.TryOfKernel(gradient, input.Scale, input, PerFeature, convolution, [8, 8, 3, 3])!);
    }

    private static Tensor Codes(QArray array) => Codec.Decode(array.GetQValue(), array.QType, ScalarType.Float32);

    private static Tensor Rounded(Tensor gradient, HowToQuantize how)
    {
        using var quantized = Quantizer.Quantize(gradient, how);
        return quantized.Dequantize();
    }

    private static Tensor Convolve(Tensor input, Tensor kernel, ConvolutionGradient convolution) =>
        nn.functional.conv2d(input, kernel, null, [.. convolution.Strides], [.. convolution.Padding.Select(p => p.Low)], [.. convolution.Dilation]);

    /// <summary>Sums of integers are exact on the one side and rounded on the other.</summary>
    private static void AssertClose(Tensor expected, Tensor actual)
    {
        Assert.Equal(expected.shape, actual.shape);
        Assert.True((expected - actual).abs().max().item<float>() <= 2e-5f * expected.abs().max().item<float>());
    }
}
