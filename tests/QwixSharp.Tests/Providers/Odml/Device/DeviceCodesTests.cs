using QwixSharp.Arrays;
using QwixSharp.Numerics;
using QwixSharp.Providers.Odml;
using QwixSharp.Providers.Odml.Device;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Providers.Odml.Device;

/// <summary>Codes, the values that they stand for, and the rounding between the two.</summary>
public sealed class DeviceCodesTests
{
    [Theory]
    [InlineData(0.01f, 5000)]
    [InlineData(0.01f, -5000)]
    [InlineData(3e-4f, 32767)]
    public void Int16WithAZeroPointIsCoveredByASymmetricScale(float scale, long zeroPoint)
    {
        double symmetric = DeviceCodes.SymmetricScale16(scale, zeroPoint);
        double low = (-32768 - zeroPoint) * (double)scale, high = (32767 - zeroPoint) * (double)scale, largest = Math.Max(-low, high);
        Assert.InRange(largest / symmetric, 32766, 32768);
        var codes = DeviceCodes.Of(DeviceSamples.Codes(QType.Int16, scale, zeroPoint));
        Assert.Null(codes.ZeroPoint);
        Assert.Equal((float)symmetric, codes.Scale[0]);
    }

    [Fact]
    public void OtherCodesStayAsTheyAre()
    {
        var narrow = DeviceSamples.Codes(QType.Int8, 0.1f, 7);
        var symmetric = DeviceSamples.Codes(QType.Int16, 0.1f);
        var weight = DeviceSamples.Codes(QType.Int16, 0.1f, 7) with { WeightName = "weight" };
        Assert.Same(narrow, DeviceCodes.Of(narrow));
        Assert.Same(symmetric, DeviceCodes.Of(symmetric));
        Assert.Same(weight, DeviceCodes.Of(weight));
        Assert.Equal(1f / 32768, DeviceCodes.Of(symmetric, hasFixedScale16: true).Scale[0]);
    }

    [Theory]
    [InlineData(0.1f, 0)]
    [InlineData(0.037f, -11)]
    [InlineData(2.5f, 127)]
    public void StepsAndValuesAreOneAnothersInverse(float scale, long zeroPoint)
    {
        using var scope = NewDisposeScope();
        var codes = DeviceSamples.Codes(QType.Int8, scale, zeroPoint);
        long[] all = DeviceSamples.AllSteps(codes);
        var values = DeviceCodes.Values(tensor(all), codes);
        Assert.Equal(all.Select(s => (double)s), DeviceCodes.Steps(values, codes).data<double>().ToArray());
        // Beyond the ends there are no codes.
        var ends = DeviceCodes.Values(tensor(new[] { all[0] - 1000, all[^1] + 1000 }), codes);
        Assert.Equal([all[0] * scale, all[^1] * scale], ends.data<float>().ToArray());
    }

    /// <summary>Two products of −128 by −128 overflow 16 bits; one and any other do not.</summary>
    [Fact]
    public void AChannelHasOneLowestCodeAtMost()
    {
        using var scope = NewDisposeScope();
        var codes = tensor(new double[,] { { -128, 5, -128 }, { -128, 5, 127 }, { 1, 2, 3 } });
        Assert.Equal([-127.0, 5, -127, -128, 5, 127, 1, 2, 3], DeviceCodes.WithoutPairs(codes, 0).data<double>().ToArray());
        Assert.Equal([-127.0, 5, -128, -127, 5, 127, 1, 2, 3], DeviceCodes.WithoutPairs(codes, 1).data<double>().ToArray());
        Assert.Equal([-127.0, 5, -127], DeviceCodes.Weight(codes[0].unsqueeze(0) * 0.5, tensor(0.5), QType.Int8, 0).data<double>().ToArray());
        Assert.Equal([-8.0, 5, -8], DeviceCodes.Weight(codes[0].unsqueeze(0) * 0.5, tensor(0.5), QType.Int4, 0).data<double>().ToArray());
    }

    [Fact]
    public void SumsAreNarrowWhereTheWorstOfThemFitsInto32Bits()
    {
        using var scope = NewDisposeScope();
        // The worst activations are all −32768: 65,535 · 32768 = 2^31 − 32768.
        Assert.True(DeviceCodes.SumsAreNarrow(tensor(new[] { 65535.0 }), tensor(new[] { 32000.0 })));
        Assert.False(DeviceCodes.SumsAreNarrow(tensor(new[] { 65535.0 }), tensor(new[] { -32767.0 })));
        Assert.False(DeviceCodes.SumsAreNarrow(tensor(new[] { 10.0, 65536.0 }), tensor(new[] { 0.0, 0 })));
    }

    /// <summary>QUANTIZE of int8 takes ties to even and multiplies by the reciprocal; of int16 it takes them away from zero and divides.</summary>
    [Fact]
    public void TiesOfQuantizeDependOnTheType()
    {
        using var scope = NewDisposeScope();
        var ties = tensor(new[] { 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f });
        Assert.Equal([0L, 2, 2, 0, -2, -2], DeviceSamples.StepsOf(DeviceRounding.FakeQuantize(ties, DeviceSamples.Codes(QType.Int8, 1)), DeviceSamples.Codes(QType.Int8, 1)));
        Assert.Equal([1L, 2, 3, -1, -2, -3], DeviceSamples.StepsOf(DeviceRounding.FakeQuantize(ties, DeviceSamples.Codes(QType.Int16, 1)), DeviceSamples.Codes(QType.Int16, 1)));
        // Near ties the last bit of the product with the reciprocal decides, which is not always that of the quotient.
        var codes = DeviceSamples.Codes(QType.Int8, 0.3f);
        float[] values = [.. Enumerable.Range(0, 250).Select(i => (i - 125.5f) * 0.3f)];
        long[] expected = [.. values.Select(v => (long)MathF.Round(v * (1 / 0.3f)))];
        Assert.Equal(expected, DeviceSamples.StepsOf(DeviceRounding.FakeQuantize(tensor(values), codes), codes));
    }

    /// <summary>Pools add codes, and divide by their number with a tie away from code zero.</summary>
    [Theory]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(49)]
    public void AveragesAreThoseOfCodes(int count)
    {
        using var scope = NewDisposeScope();
        var codes = DeviceSamples.Codes(QType.Int8, 0.0173f, -31);
        var random = new Random(count);
        long[][] windows = [.. Enumerable.Range(0, 500).Select(_ => Enumerable.Range(0, count).Select(_ => random.NextInt64(-128, 128)).ToArray())];
        var averages = tensor([.. windows.Select(w => w.Average(c => (c + 31) * (double)codes.Scale[0]))]).to(ScalarType.Float32);
        long[] expected = [.. windows.Select(w => w.Sum()).Select(sum => (sum > 0 ? sum + (count / 2) : sum - (count / 2)) / count)];
        Assert.Equal(expected, DeviceSamples.StepsOf(DeviceRounding.Averages(averages, codes), codes).Select(s => s - 31));
    }

    [Fact]
    public void PartsOfOneTensorHaveTheWidestOfTheirRanges()
    {
        using var scope = NewDisposeScope();
        using var wide = SharedRanges.Union(CalibrationRange.Asymmetric(tensor(new[] { -1f }), tensor(new[] { 2f })), CalibrationRange.Asymmetric(tensor(new[] { -3f }), tensor(new[] { 1f })));
        Assert.Equal((-3f, 2f), (wide.Min!.item<float>(), wide.Max!.item<float>()));
        using var symmetric = SharedRanges.Union(CalibrationRange.Symmetric(tensor(new[] { 1f })), CalibrationRange.Symmetric(tensor(new[] { 4f })));
        Assert.Equal(4f, symmetric.AbsMax!.item<float>());
    }
}
