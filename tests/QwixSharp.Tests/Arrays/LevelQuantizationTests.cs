using QwixSharp.Arrays;
using QwixSharp.Numerics;
using QwixSharp.Tests.Golden;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Arrays;

/// <summary>The pass over float32 to codes that are no integers gives what tensor arithmetic gives, bit for bit.</summary>
public class LevelQuantizationTests
{
    private static readonly string[] QTypes = ["nf4", "float8_e4m3fn", "float8_e5m2"];

    public static TheoryData<string, int, int> Cases =>
        [.. from qtype in QTypes from size in new[] { (1, 1), (7, 7), (32, 32), (96, 32), (96, 24), (130, 13), (200, 200) } select (qtype, size.Item1, size.Item2)];

    public static TheoryData<string> Types => [.. QTypes];

    [Theory]
    [MemberData(nameof(Cases))]
    public void CodesAndScalesAreThoseOfTensorArithmetic(string qtype, int columns, int tile)
    {
        using var scope = NewDisposeScope();
        var values = randn(9, columns) * pow(10.0, randn(9, 1));
        values[0] = 0;
        values[1] = 1e-30;
        values[2] = -3e38;
        values[3] = -values[4];
        AssertSame(values, qtype, tile);
        AssertSame(values.t().contiguous().t(), qtype, tile);
    }

    /// <summary>With a scale of 1: numbers on both sides of every bound between two codes, the smallest numbers, and zeros of both signs.</summary>
    [Theory]
    [MemberData(nameof(Types))]
    public void EveryBoundLiesWhereItDoes(string name)
    {
        using var scope = NewDisposeScope();
        var levels = Codec.DecodeTable(QType.Parse(name)).Where(float.IsFinite).Order().ToArray();
        List<float> values = [0f, -0f, float.Epsilon, -float.Epsilon, 1e-40f, levels[^1]];
        foreach (var (low, high) in levels.Zip(levels.Skip(1)))
        {
            float middle = (low + high) / 2, below = middle, above = middle;
            values.AddRange([low, middle]);
            for (int i = 0; i < 4; i++)
                values.AddRange([below = float.BitDecrement(below), above = float.BitIncrement(above)]);
        }

        AssertSame(tensor(values.ToArray()).unsqueeze(0), name, values.Count);
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void AValueThatIsNotANumberShowsInItsScale(string qtype)
    {
        using var scope = NewDisposeScope();
        foreach (float value in new[] { float.NaN, float.PositiveInfinity, float.NegativeInfinity })
        {
            var values = ones(4, 64);
            values[2, 40] = value;
            var array = LevelQuantization.TryQuantize(values, How(qtype, 32))!;
            Assert.Equal([true, true, true, true, true, false, true, true], array.Scale.isfinite().reshape(-1).data<bool>().ToArray());
            Assert.Equal(32, array.Dequantize().isnan().sum().item<long>());
        }
    }

    [Fact]
    public void WhatThePassCannotServeIsLeftToTensorArithmetic()
    {
        using var scope = NewDisposeScope();
        var values = randn(4, 64);
        Assert.Null(LevelQuantization.TryQuantize(values, How("int8", 32)));
        Assert.Null(LevelQuantization.TryQuantize(values, How("mxfp8", 32)));
        Assert.Null(LevelQuantization.TryQuantize(values.to(ScalarType.BFloat16), How("nf4", 32)));
        Assert.Null(LevelQuantization.TryQuantize(values, How("nf4", 32) with { Calibration = CalibrationMethod.AbsMax(0.5) }));
        Assert.Null(LevelQuantization.TryQuantize(values, How("nf4", 32) with { ScaleDtype = ScalarType.BFloat16 }));
        Assert.Null(LevelQuantization.TryQuantize(values, new HowToQuantize { QType = QType.NF4, ChannelwiseAxes = [1] }));
        Assert.Null(LevelQuantization.TryQuantize(empty(0, 64), How("nf4", 32)));
    }

    private static void AssertSame(Tensor values, string qtype, int tile)
    {
        var how = How(qtype, tile);
        var fast = LevelQuantization.TryQuantize(values, how);
        Assert.NotNull(fast);
        var (scale, zeroPoint) = Calibrator.ComputeScaleZeroPoint(Calibrator.Calibrate(values, how), how.QType);
        var general = Quantizer.Quantize(values, how.QType, scale, zeroPoint);
        GoldenValue.AssertBits("scale", general.Scale, fast.Scale);
        GoldenValue.AssertBits("codes", general.Codes, fast.Codes);
    }

    private static HowToQuantize How(string qtype, int tile) =>
        new() { QType = QType.Parse(qtype), ChannelwiseAxes = [0], TiledAxes = new Dictionary<int, TileSize> { [1] = tile } };
}
