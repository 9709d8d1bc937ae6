using QwixSharp.Numerics;
using QwixSharp.Providers;
using QwixSharp.Providers.Odml.Device;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Providers.Odml.Device;

/// <summary>Kernels that work on each code alone, against the same on single numbers.</summary>
public sealed class ElementwiseKernelTests
{
    /// <summary>XNNPACK: (code · round(256 · ratio) + 128) ÷ 256, downwards.</summary>
    [Theory]
    [InlineData(0.02f, 0.013f)]
    [InlineData(0.013f, 0.02f)]
    [InlineData(1f, 1f)]
    [InlineData(0.5f, 0.0041f)]
    public void Int8CodesBecomeOthersBy256ths(float from, float to)
    {
        using var scope = NewDisposeScope();
        var (input, output) = (DeviceSamples.Codes(QType.Int8, from, 3), DeviceSamples.Codes(QType.Int8, to, -20));
        long[] steps = DeviceSamples.AllSteps(input);
        long factor = (long)MathF.Round(256 * (from / to));
        long[] expected = [.. steps.Select(s => DeviceSamples.Clamp(((s * factor) + 128) >> 8, output))];
        Assert.Equal(expected, DeviceSamples.StepsOf(ElementwiseKernels.Requantize(DeviceSamples.Operand(steps, input), output), output));
    }

    /// <summary>int16, and int8 with scales that are far apart, have LiteRT's own kernel.</summary>
    [Theory]
    [InlineData(nameof(QType.Int16), 2e-4f, 1.3e-4f)]
    [InlineData(nameof(QType.Int16), 1e-4f, 0.03f)]
    [InlineData(nameof(QType.Int8), 1e-4f, 0.03f)]
    [InlineData(nameof(QType.Int8), 0.9f, 0.005f)]
    public void OtherCodesAreScaledInFixedPoint(string type, float from, float to)
    {
        using var scope = NewDisposeScope();
        var qtype = type == nameof(QType.Int16) ? QType.Int16 : QType.Int8;
        var (input, output) = (DeviceSamples.Codes(qtype, from), DeviceSamples.Codes(qtype, to));
        long[] steps = DeviceSamples.AllSteps(input, qtype == QType.Int16 ? 37 : 1);
        var factor = ReferenceArithmetic.Quantize((double)from / to);
        long[] expected = [.. steps.Select(s => DeviceSamples.Clamp(ReferenceArithmetic.ScaleTwice(s, factor), output))];
        Assert.Equal(expected, DeviceSamples.StepsOf(ElementwiseKernels.Requantize(DeviceSamples.Operand(steps, input), output), output));
    }

    [Fact]
    public void CodesOfAnotherTypeHaveNoKernel()
    {
        using var scope = NewDisposeScope();
        var operand = DeviceSamples.Operand([1, 2], DeviceSamples.Codes(QType.Int8, 1));
        Assert.Null(ElementwiseKernels.Requantize(operand, DeviceSamples.Codes(QType.Int16, 1)));
        Assert.Null(ElementwiseKernels.LeakyRelu(operand, 0.1f, DeviceSamples.Codes(QType.Int16, 1)));
        Assert.Null(ElementwiseKernels.Mean(operand, t => t.mean(), DeviceSamples.Codes(QType.Int8, 1)));
    }

    [Theory]
    [InlineData(nameof(QType.Int8), 0.2f)]
    [InlineData(nameof(QType.Int8), -0.3f)]
    [InlineData(nameof(QType.Int16), 0.01f)]
    public void LeakyReluHasAFactorForEachSign(string type, float slope)
    {
        using var scope = NewDisposeScope();
        bool wide = type == nameof(QType.Int16);
        var (input, output) = (DeviceSamples.Codes(wide ? QType.Int16 : QType.Int8, 0.02f, wide ? 0 : 9), DeviceSamples.Codes(wide ? QType.Int16 : QType.Int8, 0.017f, wide ? 0 : -40));
        long[] steps = DeviceSamples.AllSteps(input, wide ? 41 : 1);
        float ratio = 0.02f / 0.017f;
        long Scale(long step, float factor) => wide
            ? ReferenceArithmetic.ScaleTwice(step, ReferenceArithmetic.Quantize(factor))
            : ((step * (long)MathF.Round(256 * factor)) + 128) >> 8;
        long[] expected = [.. steps.Select(s => DeviceSamples.Clamp(s >= 0 ? Scale(s, ratio) : Scale(s, wide ? 0.02f * slope / 0.017f : ratio * slope), output))];
        Assert.Equal(expected, DeviceSamples.StepsOf(ElementwiseKernels.LeakyRelu(DeviceSamples.Operand(steps, input), slope, output), output));
    }

    /// <summary>MEAN of int16: the sum times a factor that is divided by the number of elements, in whole numbers.</summary>
    [Theory]
    [InlineData(2)]
    [InlineData(7)]
    [InlineData(64)]
    public void MeansOfInt16DivideTheFactor(int count)
    {
        using var scope = NewDisposeScope();
        var (input, output) = (DeviceSamples.Codes(QType.Int16, 2.1e-4f), DeviceSamples.Codes(QType.Int16, 1.7e-4f));
        var random = new Random(count);
        long[][] rows = [.. Enumerable.Range(0, 200).Select(_ => Enumerable.Range(0, count).Select(_ => random.NextInt64(-32768, 32768)).ToArray())];
        var (multiplier, shift) = ReferenceArithmetic.Quantize(2.1e-4f / (double)1.7e-4f);
        int more = Math.Min((int)Math.Log2(count), 31 + shift);
        long[] expected = [.. rows.Select(r => DeviceSamples.Clamp(ReferenceArithmetic.ScaleTwice(r.Sum(), ((multiplier << more) / count, shift - more)), output))];
        var operand = DeviceSamples.Operand([.. rows.SelectMany(r => r)], input, 200, count);
        Assert.Equal(expected, DeviceSamples.StepsOf(ElementwiseKernels.Mean(operand, t => t.mean([1]), output), output));
    }

    /// <summary>XNNPACK: the larger factor has 21 bits, and the sum is rounded once, upwards at ties.</summary>
    [Theory]
    [InlineData(0.02f, 0.013f, 0.031f, 1)]
    [InlineData(0.013f, 0.02f, 0.031f, -1)]
    [InlineData(0.5f, 0.001f, 0.02f, 1)]
    [InlineData(1f, 1f, 2f, -1)]
    public void Int8SumsAreRoundedOnce(float scaleA, float scaleB, float scale, int sign)
    {
        using var scope = NewDisposeScope();
        var output = DeviceSamples.Codes(QType.Int8, scale, 5);
        var (a, b, x, y) = Pairs(QType.Int8, scaleA, scaleB);
        float ratioA = scaleA / scale, ratioB = scaleB / scale;
        int bits = 0;
        while (Math.Max(ratioA, ratioB) * (1L << bits) < 1 << 20)
            bits++;
        long factorA = (long)Math.Round(ratioA * (double)(1L << bits)), factorB = sign * (long)Math.Round(ratioB * (double)(1L << bits));
        long[] expected = [.. x.Zip(y, (l, r) => ((l * factorA) + (r * factorB) + (1L << (bits - 1))) >> bits)];
        Assert.Equal(expected, ElementwiseKernels.Sum(a, b, sign, output)!.to(ScalarType.Int64).data<long>().ToArray());
    }

    /// <summary>XNNPACK leaves scales that are too far apart to others.</summary>
    [Fact]
    public void ScalesThatAreFarApartHaveNoKernel()
    {
        using var scope = NewDisposeScope();
        var (a, b, _, _) = Pairs(QType.Int8, 1, 1e-4f);
        Assert.Null(ElementwiseKernels.Sum(a, b, 1, DeviceSamples.Codes(QType.Int8, 0.5f)));
        Assert.Null(ElementwiseKernels.Sum(a, a, 1, DeviceSamples.Codes(QType.Int8, 1f / 256)));
        Assert.Null(ElementwiseKernels.Product(a, a, DeviceSamples.Codes(QType.Int8, 1f / 256)));
        Assert.Null(ElementwiseKernels.Product(b, b, DeviceSamples.Codes(QType.Int8, 1)));
    }

    /// <summary>XNNPACK: in single precision, ties to even.</summary>
    [Theory]
    [InlineData(0.02f, 0.013f, 0.031f)]
    [InlineData(0.5f, 1f, 1f)]
    public void Int8ProductsAreScaledInSinglePrecision(float scaleA, float scaleB, float scale)
    {
        using var scope = NewDisposeScope();
        var (a, b, x, y) = Pairs(QType.Int8, scaleA, scaleB);
        long[] expected = [.. x.Zip(y, (l, r) => (long)MathF.Round(l * r * (scaleA * scaleB / scale)))];
        Assert.Equal(expected, ElementwiseKernels.Product(a, b, DeviceSamples.Codes(QType.Int8, scale))!.to(ScalarType.Int64).data<long>().ToArray());
    }

    /// <summary>LiteRT: both sides in halves of the larger scale, with 15 bits behind the point; three roundings.</summary>
    [Theory]
    [InlineData(2e-4f, 1.3e-4f, 3.1e-4f, 1)]
    [InlineData(1.3e-4f, 2e-4f, 3.1e-4f, -1)]
    [InlineData(5e-3f, 1e-5f, 2e-4f, 1)]
    public void Int16SumsAreRoundedThreeTimes(float scaleA, float scaleB, float scale, int sign)
    {
        using var scope = NewDisposeScope();
        var (a, b, x, y) = Pairs(QType.Int16, scaleA, scaleB);
        double twice = 2 * Math.Max(scaleA, scaleB);
        var (factorA, factorB, factor) = (ReferenceArithmetic.Quantize(scaleA / twice), ReferenceArithmetic.Quantize(scaleB / twice), ReferenceArithmetic.Quantize(twice / (32768 * (double)scale)));
        long[] expected = [.. x.Zip(y, (l, r) => ReferenceArithmetic.ScaleTwice(ReferenceArithmetic.ScaleTwice(l << 15, factorA) + (sign * ReferenceArithmetic.ScaleTwice(r << 15, factorB)), factor))];
        Assert.Equal(expected, ElementwiseKernels.Sum16(a, b, sign, DeviceSamples.Codes(QType.Int16, scale)).data<long>().ToArray());
    }

    [Fact]
    public void Int16ProductsAreScaledInFixedPoint()
    {
        using var scope = NewDisposeScope();
        var (a, b, x, y) = Pairs(QType.Int16, 2e-4f, 1.3e-4f);
        var factor = ReferenceArithmetic.Quantize(2e-4f * 1.3e-4f / 7e-4f);
        long[] expected = [.. x.Zip(y, (l, r) => ReferenceArithmetic.ScaleTwice(l * r, factor))];
        Assert.Equal(expected, ElementwiseKernels.Product16(a, b, DeviceSamples.Codes(QType.Int16, 7e-4f)).data<long>().ToArray());
    }

    /// <summary>Random codes, the ends among them.</summary>
    private static (DeviceOperand A, DeviceOperand B, long[] StepsA, long[] StepsB) Pairs(QType type, float scaleA, float scaleB)
    {
        var (codesA, codesB) = (DeviceSamples.Codes(type, scaleA, type == QType.Int8 ? -17 : 0), DeviceSamples.Codes(type, scaleB, type == QType.Int8 ? 40 : 0));
        var random = new Random(7);
        long[] Steps(FakeQuantAnnotation codes)
        {
            long[] all = DeviceSamples.AllSteps(codes);
            return [all[0], all[^1], all[0], all[^1], .. Enumerable.Range(0, 1000).Select(_ => all[random.Next(all.Length)])];
        }

        long[] a = Steps(codesA), b = [.. Steps(codesB).Reverse()];
        return (DeviceSamples.Operand(a, codesA), DeviceSamples.Operand(b, codesB), a, b);
    }
}
