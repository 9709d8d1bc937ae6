using QwixSharp.Providers.Odml.Device;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Providers.Odml.Device;

/// <summary>Activations whose range is found when the model runs.</summary>
public sealed class DynamicRangeTests
{
    [Fact]
    public void ALinearLayerHasARangeForEachRow()
    {
        using var scope = NewDisposeScope();
        var x = randn(6, 50, generator: new Generator(1)) * tensor(new[] { 0.01f, 0.1f, 1, 10, 100, 1000 }).unsqueeze(1);
        var result = DynamicRange.FakeQuantize(x, new DynamicProduct(ProductKind.Linear, IsBatched: false, IsSymmetric: false));
        for (int row = 0; row < 6; row++)
            CheckRange(x[row], result[row], 255);
    }

    /// <summary>A convolution has one for each image; without a batch the first axis is that of channels.</summary>
    [Theory]
    [InlineData(nameof(ProductKind.Convolution), true)]
    [InlineData(nameof(ProductKind.Convolution), false)]
    [InlineData(nameof(ProductKind.Grouped), true)]
    [InlineData(nameof(ProductKind.Depthwise), true)]
    public void AConvolutionHasARangeForEachImage(string kind, bool isBatched)
    {
        using var scope = NewDisposeScope();
        var x = randn(2, 3, 4, 5, generator: new Generator(1)) * tensor(new[] { 1f, 30 }).view(2, 1, 1, 1);
        x = isBatched ? x : x[1];
        var result = DynamicRange.FakeQuantize(x, new DynamicProduct(Enum.Parse<ProductKind>(kind), isBatched, IsSymmetric: false));
        foreach (var (values, quantized) in isBatched ? x.unbind().Zip(result.unbind()) : [(x, result)])
            CheckRange(values, quantized, 255);
    }

    /// <summary>Without a zero point there are 127 steps to either side, and a tie goes away from zero.</summary>
    [Fact]
    public void Int4WeightsOfAnOddNumberOfFeaturesWantSymmetricActivations()
    {
        using var scope = NewDisposeScope();
        var x = tensor(new[] { 127f, -0.5f, 1.5f, 2.4f, -2.5f }).unsqueeze(0);
        var result = DynamicRange.FakeQuantize(x, new DynamicProduct(ProductKind.Linear, false, IsSymmetric: true));
        Assert.Equal([127f, -1, 2, 2, -3], result.data<float>().ToArray());
    }

    /// <summary>−1 to 254 in steps of 1: zero is a code, and ties go to even or away from zero by code.</summary>
    [Fact]
    public void TiesDependOnTheKernel()
    {
        using var scope = NewDisposeScope();
        var x = tensor(new[] { -1f, 254, 2.5f, 3.5f }).unsqueeze(0);
        var linear = DynamicRange.FakeQuantize(x, new DynamicProduct(ProductKind.Linear, false, false));
        Assert.Equal([-1f, 254, 2, 4], linear.data<float>().ToArray());
        // Depthwise: codes are −127 + 2.5 = −124.5 and −123.5, away from zero.
        var depthwise = DynamicRange.FakeQuantize(x.view(1, 1, 2, 2), new DynamicProduct(ProductKind.Depthwise, true, false));
        Assert.Equal([-1f, 254, 2, 3], depthwise.data<float>().ToArray());
    }

    [Theory]
    [InlineData(nameof(ProductKind.Linear), false)]
    [InlineData(nameof(ProductKind.Linear), true)]
    [InlineData(nameof(ProductKind.Depthwise), false)]
    public void NothingButZerosStaysSo(string kind, bool isSymmetric)
    {
        using var scope = NewDisposeScope();
        var result = DynamicRange.FakeQuantize(zeros(1, 2, 3, 4), new DynamicProduct(Enum.Parse<ProductKind>(kind), true, isSymmetric));
        Assert.Equal(0, result.abs().max().item<float>());
    }

    [Fact]
    public void ATransposedConvolutionComputesInFloatingPoint()
    {
        using var scope = NewDisposeScope();
        var x = randn(1, 2, 3, 4, generator: new Generator(1));
        Assert.True(DynamicRange.FakeQuantize(x, new DynamicProduct(ProductKind.Transposed, true, false)).equal(x).all().item<bool>());
    }

    /// <summary>All values are within half a step of where they were, on one grid through zero.</summary>
    private static void CheckRange(Tensor values, Tensor quantized, int steps)
    {
        float low = Math.Min(0, values.min().item<float>()), high = Math.Max(0, values.max().item<float>()), step = (high - low) / steps;
        // The zero point is a whole number too, which moves the ends by up to half a step.
        Assert.InRange((quantized - values).abs().max().item<float>(), step / 100, step * 1.01f);
        Assert.InRange((quantized - values).abs().mean().item<float>(), step / 10, step * 0.35f);
        using var codes = quantized.to(ScalarType.Float64) / step;
        Assert.InRange((codes - codes.round()).abs().max().item<double>(), 0, 0.01);
        Assert.InRange((codes.max() - codes.min()).item<double>(), steps - 2, steps + 0.01);
    }
}
