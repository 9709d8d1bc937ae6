using QwixSharp.Numerics;
using QwixSharp.Providers;
using QwixSharp.Rules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Providers.Odml.Device;

/// <summary>Kernels that need a call with its weights or sizes: results of conversion models against whole numbers.</summary>
public sealed class ConvertedKernelTests
{
    private static readonly QuantizationRule[] Int16 = [new() { WeightQType = "int8", ActQType = "int16", ActCalibrationMethod = "absmax", ActBatchAxes = [] }];

    /// <summary>XNNPACK: sums of codes with the bias in their steps, times a factor in single precision, ties to even.</summary>
    [Fact]
    public void Int8LinearLayersScaleSumsInSinglePrecision() => CheckLinear(OnDevice.Int8, (sum, input, weight, output) => (long)MathF.Round(sum * (input * weight / output)));

    /// <summary>LiteRT: in double precision, ties away from zero.</summary>
    [Fact]
    public void Int16LinearLayersScaleSumsInDoublePrecision() =>
        CheckLinear(Int16, (sum, input, weight, output) => (long)Math.Round(sum * ((double)weight * input / output), MidpointRounding.AwayFromZero));

    /// <summary>LiteRT: sums of 32 bits times a factor of 31, rounded once.</summary>
    [Fact]
    public void Int16ConvolutionsScaleSumsOnce()
    {
        using var scope = NewDisposeScope();
        manual_seed(3);
        using var model = new Functional(randn(4, 3, 1, 1), (m, t) => functional.conv2d(t, m.W));
        var x = randn(1, 3, 10, 10);
        var (_, device, provider) = OnDevice.Convert(model, x, Int16);
        var (input, weight, output) = (provider.FakeQuants[0], provider.FakeQuants[1], provider.FakeQuants[2]);
        var codes = Away(x / input.Scale[0]);
        long[] expected = [.. Enumerable.Range(0, 4).SelectMany(channel =>
        {
            var row = Weights(model.W[channel].reshape(-1), weight.Scale[channel]);
            var sums = (codes[0].reshape(3, -1) * row.unsqueeze(1)).sum([0]).data<long>().ToArray();
            var factor = ReferenceArithmetic.Quantize((double)weight.Scale[channel] * input.Scale[0] / output.Scale[0]);
            return sums.Select(s => DeviceSamples.Clamp(ReferenceArithmetic.ScaleOnce(s, factor), output));
        })];
        Assert.Equal(expected, DeviceSamples.StepsOf(device, output));
    }

    /// <summary>A right side without a zero point has XNNPACK's kernel; one that has one, LiteRT's, in fixed point.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void ProductsOfActivationsDependOnTheRightZeroPoint(bool symmetric)
    {
        using var scope = NewDisposeScope();
        manual_seed(3);
        using var model = new Functional(zeros(1), (_, t) => t.matmul(t.transpose(0, 1)));
        var x = randn(30, 20) + 0.3f;
        var (_, device, provider) = OnDevice.Convert(model, x, symmetric ? [OnDevice.Int8[0] with { ActCalibrationMethod = "absmax" }] : OnDevice.Int8);
        var (input, output) = (provider.FakeQuants[0], provider.FakeQuants[^1]);
        Assert.Equal(symmetric, input.ZeroPoint is null or [0]);
        var codes = Cut((x * (1 / input.Scale[0])).round().to(ScalarType.Int64), input);
        long[] sums = (codes.unsqueeze(1) * codes.unsqueeze(0)).sum(2).data<long>().ToArray();
        float product = input.Scale[0] * input.Scale[0];
        var factor = ReferenceArithmetic.Quantize((double)product / output.Scale[0]);
        long[] expected = [.. sums.Select(s => DeviceSamples.Clamp(symmetric ? (long)MathF.Round(s * (product / output.Scale[0])) : ReferenceArithmetic.ScaleTwice(s, factor), output))];
        Assert.Equal(expected, DeviceSamples.StepsOf(device, output));
    }

    /// <summary>XNNPACK: places in single precision, weights of neighbours in 11 bits, ties upwards.</summary>
    [Theory]
    [InlineData(7, 5, false)]
    [InlineData(13, 12, true)]
    [InlineData(3, 4, false)]
    public void BilinearInterpolationWeighsIn11Bits(int rows, int columns, bool corners)
    {
        using var scope = NewDisposeScope();
        using var model = new Functional(zeros(1), (_, t) => functional.interpolate(t, [rows, columns], mode: InterpolationMode.Bilinear, align_corners: corners));
        var x = randn([1, 2, 5, 6], generator: new Generator(1)) + 0.3f;
        var (_, device, provider) = OnDevice.Convert(model, x, OnDevice.Int8);
        var codes = provider.FakeQuants[0];
        var steps = Cut((x * (1 / codes.Scale[0])).round().to(ScalarType.Int64), codes);
        List<long> expected = [];
        for (int channel = 0; channel < 2; channel++)
        {
            for (int row = 0; row < rows; row++)
            {
                var (top, bottom, down) = Place(5, rows, row);
                for (int column = 0; column < columns; column++)
                {
                    var (left, right, across) = Place(6, columns, column);
                    long At(int y, int z) => steps[0, channel, y, z].item<long>();
                    long upper = (At(top, left) * (2048 - across)) + (At(top, right) * across), lower = (At(bottom, left) * (2048 - across)) + (At(bottom, right) * across);
                    expected.Add(((upper * (2048 - down)) + (lower * down) + (1 << 21)) >> 22);
                }
            }
        }

        Assert.Equal(expected, DeviceSamples.StepsOf(device, codes));

        (int First, int Second, long Weight) Place(int size, int wanted, int i)
        {
            float place = corners ? i * ((float)(size - 1) / (wanted - 1)) : (i * ((float)size / wanted)) + ((0.5f * ((float)size / wanted)) - 0.5f);
            place = Math.Min(Math.Max(place, 0), size - 1);
            int first = (int)MathF.Floor(place);
            return (first, Math.Min(first + 1, size - 1), (long)MathF.Round((place - first) * 2048));
        }
    }

    private static void CheckLinear(QuantizationRule[] rules, Func<long, float, float, float, long> scale)
    {
        using var scope = NewDisposeScope();
        manual_seed(3);
        var bias = randn(5);
        using var model = new Functional(randn(5, 8) * tensor(new[] { 0.1f, 1, 3, 0.02f, 1 }).unsqueeze(1), (m, t) => functional.linear(t, m.W, bias));
        var x = randn(40, 8);
        var (_, device, provider) = OnDevice.Convert(model, x, rules);
        var (input, weight, output) = (provider.FakeQuants[0], provider.FakeQuants[1], provider.FakeQuants[2]);
        var codes = Cut(input.QType == QType.Int16 ? Away(x / input.Scale[0]) : (x * (1 / input.Scale[0])).round().to(ScalarType.Int64), input);
        List<long> expected = [];
        for (int row = 0; row < 40; row++)
        {
            for (int channel = 0; channel < 5; channel++)
            {
                var weights = Weights(model.W[channel], weight.Scale[channel]);
                long sum = (codes[row] * weights).sum().item<long>() + (long)Math.Round(bias[channel].item<float>() / ((double)input.Scale[0] * weight.Scale[channel]));
                expected.Add(DeviceSamples.Clamp(scale(sum, input.Scale[0], weight.Scale[channel], output.Scale[0]), output));
            }
        }

        Assert.Equal(expected, DeviceSamples.StepsOf(device, output));
    }

    private static Tensor Weights(Tensor values, float scale) => (values / scale).round().clamp(-128, 127).to(ScalarType.Int64);

    private static Tensor Away(Tensor values) => (values.sign() * (values.abs() + 0.5f).floor()).to(ScalarType.Int64);

    private static Tensor Cut(Tensor steps, FakeQuantAnnotation codes) => steps.clamp(DeviceSamples.Clamp(long.MinValue, codes), DeviceSamples.Clamp(long.MaxValue, codes));
}
