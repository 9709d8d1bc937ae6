using QwixSharp.Numerics;
using QwixSharp.Providers;
using QwixSharp.Providers.Odml.Device;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Providers.Odml.Device;

/// <summary>The int16 kernels with tables: close to the functions that they stand for, and as single numbers go through them.</summary>
public sealed class TableKernelTests
{
    private static readonly FakeQuantAnnotation Unit = DeviceSamples.Codes(QType.Int16, DeviceCodes.FixedScale16);

    [Theory]
    [InlineData(2.4e-4f)]
    [InlineData(1e-3f)]
    [InlineData(3.3e-5f)]
    public void SigmoidIsWithinTwoCodes(float scale) =>
        CheckFunction((x, output) => TableKernels.Sigmoid(x, output), x => 1 / (1 + Math.Exp(-x)), scale, Unit, largest: 2, rises: true);

    [Theory]
    [InlineData(2.4e-4f)]
    [InlineData(1e-3f)]
    [InlineData(3.3e-5f)]
    public void TanhIsWithinThreeCodes(float scale) =>
        CheckFunction((x, output) => TableKernels.Tanh(x, output), Math.Tanh, scale, Unit, largest: 3, rises: true);

    /// <summary>sigmoid(−x) = 1 − sigmoid(x), and tanh(−x) = −tanh(x), to a code.</summary>
    [Fact]
    public void BothSidesOfZeroAgree()
    {
        using var scope = NewDisposeScope();
        var codes = DeviceSamples.Codes(QType.Int16, 2.4e-4f);
        long[] steps = [.. Enumerable.Range(0, 3000).Select(i => i * 10L)], opposite = [.. steps.Select(s => -s)];
        long[] Run(Func<DeviceOperand, FakeQuantAnnotation, Tensor?> kernel, long[] of) => DeviceSamples.StepsOf(kernel(DeviceSamples.Operand(of, codes), Unit), Unit);
        Assert.All(Run(TableKernels.Sigmoid, steps).Zip(Run(TableKernels.Sigmoid, opposite)), p => Assert.InRange(p.First + p.Second, 32767, 32769));
        Assert.All(Run(TableKernels.Tanh, steps).Zip(Run(TableKernels.Tanh, opposite)), p => Assert.InRange(p.First + p.Second, -1, 1));
        Assert.Equal([16384], Run(TableKernels.Sigmoid, [0]));
        Assert.Equal([0], Run(TableKernels.Tanh, [0]));
    }

    /// <summary>The input in steps of 1/12288, and between two entries, 1/24 apart, a line.</summary>
    [Fact]
    public void SigmoidGoesAlongLinesBetweenItsEntries()
    {
        const float scale = 2.4e-4f;
        using var scope = NewDisposeScope();
        long multiplier = (long)(scale * 4096.0 * 3 * (1 << 13)); // it has 15 bits
        static long Entry(int i)
        {
            double Exact(double x) => 65536 / (1 + Math.Exp(-x / 24));
            double middle = (Exact(i) + Exact(i + 1)) / 2;
            return i == 255 ? 65535 : (long)Math.Round(Exact(i) + ((Exact(i + 0.5) - middle) / 2), MidpointRounding.AwayFromZero);
        }

        long[] steps = [.. Enumerable.Range(-500, 1001).Select(i => i * 65L)];
        long[] expected = [.. steps.Select(step =>
        {
            long x = ((step * multiplier) + (1 << 12)) >> 13, magnitude = Math.Abs(x), entry = magnitude >> 9;
            long line = entry >= 255 ? 0x7FFFL << 10 : (Entry((int)entry) << 9) + ((magnitude & 511) * (Entry((int)entry + 1) - Entry((int)entry)));
            return (x >= 0 ? line + 512 : (1L << 25) - line + 511) >> 10;
        })];
        Assert.Equal(expected, DeviceSamples.StepsOf(TableKernels.Sigmoid(DeviceSamples.Operand(steps, DeviceSamples.Codes(QType.Int16, scale)), Unit), Unit));
    }

    [Theory]
    [InlineData(true, 2e-4f)]
    [InlineData(false, 2e-4f)]
    [InlineData(false, 1.1e-3f)]
    public void GeluIsWithinAFewCodes(bool approximates, float scale)
    {
        // 512 lines over the range: the wider it is, the coarser they are.
        double largest = scale > 1e-3f ? 40 : 3;
        CheckFunction((x, output) => TableKernels.Gelu(x, approximates, output), x => Exact(x), scale, DeviceSamples.Codes(QType.Int16, scale), largest, rises: false);
        double Exact(double x) => approximates
            ? 0.5 * x * (1 + Math.Tanh(Math.Sqrt(2 / Math.PI) * (x + (0.044715 * x * x * x))))
            : 0.5 * x * special.erfc(tensor(-x / Math.Sqrt(2))).item<double>();
    }

    [Theory]
    [InlineData(2, 2.4e-4f)]
    [InlineData(10, 2.4e-4f)]
    [InlineData(100, 1e-4f)]
    public void SoftmaxIsWithinAFewCodesAndAddsUpToOne(int count, float scale)
    {
        using var scope = NewDisposeScope();
        var codes = DeviceSamples.Codes(QType.Int16, scale);
        var random = new Random(count);
        long[] steps = [.. Enumerable.Range(0, 50 * count).Select(_ => random.NextInt64(-32768, 32768))];
        var operand = DeviceSamples.Operand(steps, codes, 50, count);
        var result = TableKernels.Softmax(operand, 1, Unit)!.to(ScalarType.Float64);
        using var exact = nn.functional.softmax(operand.Values.to(ScalarType.Float64), 1);
        Assert.InRange((result - exact).abs().max().item<double>() * 32768, 0, 12);
        Assert.InRange((result.sum(1) - 1).abs().max().item<double>() * 32768, 0, 12 + (count / 2));
        // The largest of each row stays the largest.
        Assert.True((result.amax([1]) - result.gather(1, operand.Values.argmax(1, keepdim: true)).squeeze(1)).eq(0).all().item<bool>());
    }

    /// <summary>Along another axis, and with all the same: each is one part of as many.</summary>
    [Fact]
    public void SoftmaxGoesAlongItsAxis()
    {
        using var scope = NewDisposeScope();
        var operand = DeviceSamples.Operand([.. Enumerable.Range(0, 12).Select(i => i % 3 * 1000L)], DeviceSamples.Codes(QType.Int16, 1e-3f), 4, 3);
        Assert.All(DeviceSamples.StepsOf(TableKernels.Softmax(operand, 0, Unit), Unit), c => Assert.InRange(c, 8191, 8193));
    }

    /// <summary>int8 kernels look up each code, so that there is nothing to imitate; a power of two as scale has a path of its own.</summary>
    [Fact]
    public void OthersHaveNoTables()
    {
        using var scope = NewDisposeScope();
        var narrow = DeviceSamples.Operand([1, 2], DeviceSamples.Codes(QType.Int8, 0.1f));
        Assert.Null(TableKernels.Sigmoid(narrow, DeviceSamples.Codes(QType.Int8, 1f / 256)));
        Assert.Null(TableKernels.Softmax(narrow, 0, DeviceSamples.Codes(QType.Int8, 1f / 256)));
        Assert.Null(TableKernels.Tanh(DeviceSamples.Operand([1, 2], DeviceSamples.Codes(QType.Int16, 1f / 4096)), Unit));
    }

    private static void CheckFunction(Func<DeviceOperand, FakeQuantAnnotation, Tensor?> kernel, Func<double, double> function, float scale, FakeQuantAnnotation output, double largest, bool rises)
    {
        using var scope = NewDisposeScope();
        var codes = DeviceSamples.Codes(QType.Int16, scale);
        long[] steps = DeviceSamples.AllSteps(codes, 13);
        long[] actual = DeviceSamples.StepsOf(kernel(DeviceSamples.Operand(steps, codes), output), output);
        double worst = steps.Zip(actual, (s, a) => Math.Abs(Math.Clamp(function(s * (double)scale) / output.Scale[0], -32768, 32767) - a)).Max();
        Assert.InRange(worst, 0, largest);
        if (rises)
            Assert.All(actual.Zip(actual.Skip(1)), p => Assert.True(p.Second >= p.First));
    }
}
