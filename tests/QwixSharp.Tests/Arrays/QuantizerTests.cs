using CsCheck;
using QwixSharp.Arrays;
using QwixSharp.Numerics;
using QwixSharp.Tests.Golden;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Arrays;

/// <summary>What quantizing and dequantizing does to values: error bounds, calibrations, dtypes and refusals.</summary>
public class QuantizerTests
{
    private static readonly ScalarType[] Dtypes = [ScalarType.Float32, ScalarType.Float64, ScalarType.BFloat16, ScalarType.Float16];

    public static IEnumerable<TheoryDataRow<string>> Types() => QType.All.Select(t => new TheoryDataRow<string>(t.Name));

    public static IEnumerable<TheoryDataRow<string>> Asymmetric() => QType.All.Where(t => t.SupportsAsymmetric).Select(t => new TheoryDataRow<string>(t.Name));

    [Theory]
    [MemberData(nameof(Types))]
    public void ErrorsStayWithinHalfAStep(string name)
    {
        var qtype = QType.Parse(name);
        Gen.Select(Gen.Int[0, 3], Gen.Int[0, 2], Gen.Int[-12, 12], Gen.Int[1, 9999]).Sample(
            (granularity, shape, exponent, seed) =>
            {
                using var scope = NewDisposeScope();
                manual_seed(seed);
                var x = (randn(Shape(shape), ScalarType.Float64) * Math.Pow(2, exponent)).to(ScalarType.Float32);
                var (channels, tiles) = Granularity(qtype, granularity, x.shape);
                var array = Qwix.Quantize(x, qtype, channels, tiles);
                AssertWithin(x, array, Bound(qtype, x, array));
            },
            iter: 30, threads: 1);
    }

    [Theory]
    [MemberData(nameof(Asymmetric))]
    public void AsymmetricErrorsStayWithinOneStep(string name)
    {
        Gen.Select(Gen.Int[0, 3], Gen.Double[-3, 3], Gen.Int[1, 9999]).Sample(
            (granularity, shift, seed) =>
            {
                using var scope = NewDisposeScope();
                manual_seed(seed);
                var x = randn(8, 96) + shift;
                var (channels, tiles) = Granularity(QType.Int8, granularity, x.shape);
                var array = Qwix.Quantize(x, name, channels, tiles, "minmax");
                Assert.NotNull(array.ZeroPoint);
                Assert.Equal(array.Scale.shape, array.ZeroPoint.shape);
                // The zero point is rounded too, which may clip half a step at one end.
                AssertWithin(x, array, Expand(array.Scale, x.shape) * 1.001);
            },
            iter: 30, threads: 1);
    }

    [Theory]
    [InlineData(ScalarType.Float64, 1e-13)]
    [InlineData(ScalarType.BFloat16, 2e-2)]
    [InlineData(ScalarType.Float16, 2e-3)]
    public void TheArraysDtypeIsTheScalesAndTheResults(ScalarType dtype, double rounding)
    {
        using var scope = NewDisposeScope();
        manual_seed(1);
        var x = randn(6, 32).to(dtype);
        foreach (var qtype in QType.All)
        {
            var (channels, tiles) = Granularity(qtype, 3, x.shape);
            var array = Qwix.Quantize(x, qtype, channels, tiles);
            var back = array.Dequantize();
            Assert.Equal((dtype, dtype, dtype), (array.Dtype, array.Scale.dtype, back.dtype));
            var wide = x.to(ScalarType.Float64);
            var slack = (wide.abs() * rounding) + (Expand(array.Scale.to(ScalarType.Float64), x.shape) * rounding);
            var bound = Bound(qtype, wide, array.To(ScalarType.Float64)) + slack;
            Assert.True((back.to(ScalarType.Float64) - wide).abs().le(bound).all().item<bool>(), qtype.Name);
        }
    }

    /// <summary>As those of most weights are: their scales are small numbers of float16.</summary>
    [Theory]
    [InlineData("int8", 0.05)]
    [InlineData("int4", 0.02)]
    [InlineData("nf4", 0.005)]
    [InlineData("fp8", 0.05)]
    [InlineData("mxfp8", 0.05)]
    [InlineData("int8", 0.001)]
    public void SmallNumbersOfFloat16KeepTheirCodes(string name, double size)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(4);
        var (channels, tiles) = Granularity(QType.Parse(name), 3, [8, 96]);
        var x = (randn([8, 96], generator: generator) * size).to(ScalarType.Float16);
        var wide = x.to(ScalarType.Float32);
        double expected = GoldenValue.Snr(wide, Qwix.Quantize(wide, name, channels, tiles).Dequantize());

        Assert.InRange(GoldenValue.Snr(wide, Qwix.Quantize(x, name, channels, tiles).Dequantize()), expected - 3, 100);
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void AScaleDtypeOfItsOwn(string name)
    {
        using var scope = NewDisposeScope();
        manual_seed(2);
        var x = randn(4, 32);
        var (channels, tiles) = Granularity(QType.Parse(name), 3, x.shape);
        var plain = Qwix.Quantize(x, name, channels, tiles);
        var narrow = Qwix.Quantize(x, name, channels, tiles, scaleDtype: ScalarType.BFloat16);
        Assert.Equal((ScalarType.BFloat16, ScalarType.BFloat16), (narrow.Dtype, narrow.Dequantize().dtype));
        Assert.Equal(plain.Codes.bytes.ToArray(), narrow.Codes.bytes.ToArray());
        Assert.Equal(plain.Scale.to(ScalarType.BFloat16).bytes.ToArray(), narrow.Scale.bytes.ToArray());
        Assert.Equal(ScalarType.Float32, Qwix.Quantize(x, name, channels, tiles, scaleDtype: ScalarType.Float32).Dtype);
    }

    [Fact]
    public void AbsMaxAndItsFactor()
    {
        using var scope = NewDisposeScope();
        var x = tensor(new float[,] { { 1, -4, 2 }, { 0.5f, 0.25f, -1 } });
        Assert.Equal([4 / 127.5f, 1 / 127.5f], Qwix.Quantize(x, "int8", [0]).Scale.data<float>().ToArray());
        Assert.Equal([4f / 127.5f, 2 / 127.5f, 1 / 127.5f * 2], Qwix.Quantize(tensor(new float[,] { { 1, -1, 2 }, { 4, 2, -1 } }), "int8", [1]).Scale.data<float>().ToArray());
        Assert.Equal([(4 * 0.5f) / 127.5f, 0.5f / 127.5f], Qwix.Quantize(x, "int8", [0], calibration: "absmax,0.5").Scale.data<float>().ToArray());
        // −4 is clipped at −2.
        Assert.Equal(-128 * (2 / 127.5f), Qwix.Quantize(x, "int8", [0], calibration: "absmax,0.5").Dequantize()[0, 1].item<float>());
    }

    [Fact]
    public void RmsIsAMultipleOfTheRootMeanSquare()
    {
        using var scope = NewDisposeScope();
        var x = tensor(new float[,] { { 3, 4, 0, 0 }, { 1, 1, 1, 1 } });
        Assert.Equal([2 * 2.5f / 7.5f, 2 / 7.5f], Qwix.Quantize(x, "int4", [0], calibration: "rms,2").Scale.data<float>().ToArray());
        Assert.Equal([2 * 3 / 7.5f, 2 * 1 / 7.5f], Qwix.Quantize(x, "int4", [0, 1], calibration: "rms,2").Scale[TensorIndex.Colon, 0].data<float>().ToArray());
    }

    [Fact]
    public void MinMaxIncludesZero()
    {
        using var scope = NewDisposeScope();
        var array = Qwix.Quantize(tensor(new float[] { 5, 10, 7.5f }), "int8", calibration: "minmax");
        Assert.Equal(10 / 255f, array.Scale.item<float>());
        Assert.Equal((sbyte)-128, array.ZeroPoint!.item<sbyte>());
        array = Qwix.Quantize(tensor(new float[] { -5, -10, -7.5f }), "int8", calibration: "minmax");
        Assert.Equal((sbyte)127, array.ZeroPoint!.item<sbyte>());
    }

    [Theory]
    [InlineData("int8", "absmax")]
    [InlineData("int3", "absmax")]
    [InlineData("int8", "minmax")]
    [InlineData("int4", "minmax")]
    public void OnePassOverMemoryGivesWhatTheGeneralWayGives(string type, string calibration)
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(1);
        var array = randn(40, 96, generator: generator);
        array[3] += 4;
        array[4] -= 4;
        array[5] = zeros(96);
        array[6] *= 1e-30f;
        foreach (int tile in new[] { 96, 32 })
        {
            var how = new HowToQuantize { QType = QType.Parse(type), ChannelwiseAxes = [0], TiledAxes = new Dictionary<int, TileSize> { [1] = tile }, Calibration = CalibrationMethod.Parse(calibration) };
            using var onePass = Quantizer.Quantize(array, how);
            using var range = Calibrator.Calibrate(array, how);
            var (scale, zeroPoint) = Calibrator.ComputeScaleZeroPoint(range, how.QType);
            using var general = Quantizer.Quantize(array, how.QType, scale, zeroPoint);
            Assert.True(general.Codes.Equals(onePass.Codes));
            Assert.True(general.Scale.Equals(onePass.Scale));
            Assert.Equal(general.ZeroPoint is null, onePass.ZeroPoint is null);
            if (general.ZeroPoint is not null)
                Assert.True(general.ZeroPoint.Equals(onePass.ZeroPoint!));
        }
    }

    [Theory]
    [InlineData("fixed,2", false)]
    [InlineData("fixed,-2,2", false)]
    [InlineData("fixed,-1,3", true)]
    public void AFixedRangeIsThatOfTheWholeTensor(string calibration, bool zeroPoint)
    {
        using var scope = NewDisposeScope();
        var array = Qwix.Quantize(tensor(new float[,] { { 1, -4 }, { 9, 0 } }), "int8", [0], calibration: calibration);
        Assert.Equal([1, 1], array.Scale.shape);
        Assert.Equal(zeroPoint, array.ZeroPoint is not null);
        Assert.Equal(zeroPoint ? 4 / 255f : 2 / 127.5f, array.Scale.item<float>());
        var back = array.Dequantize();
        Assert.Equal(0f, back[1, 1].item<float>());
        Assert.InRange(back[1, 0].item<float>(), zeroPoint ? 2.98f : 1.98f, zeroPoint ? 3.02f : 2.02f);
        Assert.InRange(back[0, 1].item<float>(), zeroPoint ? -1.02f : -2.02f, zeroPoint ? -0.98f : -1.98f);
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void ZerosStayZeros(string name)
    {
        using var scope = NewDisposeScope();
        var (channels, tiles) = Granularity(QType.Parse(name), 3, [4, 32]);
        var array = Qwix.Quantize(zeros(4, 32), name, channels, tiles);
        Assert.True(array.Scale.isfinite().all().item<bool>());
        float expected = name == "int1" ? array.Scale.abs().max().item<float>() : 0;
        Assert.Equal(expected, array.Dequantize().abs().max().item<float>());
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void AScalarIsQuantized(string name)
    {
        using var scope = NewDisposeScope();
        foreach (var dtype in Dtypes)
        {
            var x = tensor(3.0).to(dtype);
            if (QType.Parse(name).IsMicroScaled)
            {
                Assert.Contains("tile size", Assert.Throws<ArgumentException>(() => Qwix.Quantize(x, name)).Message);
                continue;
            }

            var array = Qwix.Quantize(x, name);
            Assert.Equal((0, 0L, dtype), (array.Rank, array.Scale.dim(), array.Dtype));
            Assert.InRange(array.Dequantize().to(ScalarType.Float64).item<double>(), 2.0, 3.05);
            Assert.Equal(0, array.Dequantize().dim());
        }
    }

    [Theory]
    [InlineData("minmax")]
    [InlineData("rms,1")]
    [InlineData("fixed,4")]
    [InlineData("fixed,-1,4")]
    [InlineData("absmax,0.5")]
    public void AScalarUnderEveryCalibration(string calibration)
    {
        using var scope = NewDisposeScope();
        var array = Qwix.Quantize(tensor(3f), "int8", calibration: calibration);
        Assert.InRange(array.Dequantize().item<float>(), calibration == "absmax,0.5" ? 1.49f : 2.97f, 3.03f);
    }

    [Theory]
    [InlineData(new long[] { 0 })]
    [InlineData(new long[] { 0, 5 })]
    [InlineData(new long[] { 5, 0 })]
    public void AnEmptyArrayGivesAnEmptyOne(long[] shape)
    {
        using var scope = NewDisposeScope();
        foreach (var qtype in QType.All.Where(t => !t.IsMicroScaled))
        {
            foreach (var calibration in new[] { "absmax", "rms,3", "fixed,3", qtype.SupportsAsymmetric ? "minmax" : "absmax,0.5" })
            {
                foreach (int[] channels in new int[][] { [], [0] })
                {
                    var array = Qwix.Quantize(zeros(shape), qtype, channels, calibration: calibration);
                    Assert.Equal(shape, array.Shape.ToArray());
                    Assert.Equal(shape, array.Dequantize().shape);
                    Assert.True(array.Scale.isfinite().all().item<bool>());
                    Assert.Equal(shape, array.Transpose().Transpose().Shape.ToArray());
                }
            }
        }
    }

    [Fact]
    public void WhatCannotBeQuantizedIsTold()
    {
        using var scope = NewDisposeScope();
        var x = randn(4, 96);
        AssertRefused(() => Qwix.Quantize(ones(3, ScalarType.Int64), "int8"), "Int64", "float32");
        AssertRefused(() => Qwix.Quantize(x, "int8", tiledAxes: Tiles(1, 36)), "36", "axis 1", "divisor of 96");
        AssertRefused(() => Qwix.Quantize(x, "int8", tiledAxes: Tiles(0, 0.1)), "0.1", "axis 0");
        AssertRefused(() => Qwix.Quantize(x, "int8", [1], Tiles(1, 32)), "Axis 1", "both channelwise and tiled");
        AssertRefused(() => Qwix.Quantize(x, "int8", [2]), "Axis 2", "[4, 96]");
        AssertRefused(() => Qwix.Quantize(x, "int8", [-1]), "Axis -1");
        AssertRefused(() => Qwix.Quantize(x, "int8", tiledAxes: Tiles(2, 2)), "Axis 2");
        AssertRefused(() => Qwix.Quantize(x, "mxfp8"), "mxfp8 needs tiles", "32");
        AssertRefused(() => Qwix.Quantize(x, "nvfp4", tiledAxes: Tiles(1, 32)), "nvfp4 needs tiles of 16", "32");
        foreach (var qtype in QType.All.Where(t => !t.SupportsAsymmetric && !t.IsMicroScaled))
            AssertRefused(() => Qwix.Quantize(x, qtype, calibration: "minmax"), qtype.Name, "zero point", "absmax");
        AssertRefused(() => Qwix.Quantize(x, "int3", calibration: "fixed,-1,2"), "int3", "zero point");
        Assert.Throws<ArgumentNullException>(() => Qwix.Quantize(null!, "int8"));
        Assert.Throws<ArgumentNullException>(() => Qwix.Quantize(x, null!));
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void TheAbstractArrayHasTheShapesOfTheRealOne(string name)
    {
        using var scope = NewDisposeScope();
        var qtype = QType.Parse(name);
        foreach (var calibration in qtype.SupportsAsymmetric ? new[] { "absmax", "rms,3", "fixed,2", "minmax", "fixed,-1,3" } : ["absmax", "rms,3", "fixed,2"])
        {
            for (int granularity = 0; granularity < 4; granularity++)
            {
                for (int shape = 0; shape < 3; shape++)
                {
                    foreach (var dtype in Dtypes)
                        CheckAbstract(qtype, calibration, granularity, Shape(shape), dtype);
                }
            }
        }
    }

    [Fact]
    public void TheAbstractArrayIsRefusedAsTheRealOne()
    {
        using var scope = NewDisposeScope();
        foreach (var how in new HowToQuantize[]
        {
            new() { QType = "nf4", Calibration = "minmax" },
            new() { QType = "int8", TiledAxes = Tiles(1, 36) },
            new() { QType = "mxfp4" },
        })
        {
            var real = Assert.Throws<ArgumentException>(() => Quantizer.Quantize(zeros(4, 96), how));
            var meta = Assert.Throws<ArgumentException>(() => Quantizer.Abstract(zeros(4, 96, device: META), how));
            Assert.Equal(real.Message, meta.Message);
        }
    }

    private static void CheckAbstract(QType qtype, string calibration, int granularity, long[] shape, ScalarType dtype)
    {
        var (channels, tiles) = Granularity(qtype, granularity, shape);
        var how = new HowToQuantize { QType = qtype, ChannelwiseAxes = channels, TiledAxes = tiles, Calibration = calibration };
        var real = Quantizer.Quantize(ones(shape, dtype), how);
        var meta = Quantizer.Abstract(empty(shape, dtype, META), how);
        Assert.Equal(real.ToString(), meta.ToString());
        Assert.Equal((real.Codes.dtype, real.ZeroPoint?.dtype), (meta.Codes.dtype, meta.ZeroPoint?.dtype));
        Assert.Equal(real.Codes.shape, meta.Codes.shape);
        Assert.Equal(real.ByteSize, meta.ByteSize);
    }

    private static long[] Shape(int which) => which switch { 0 => [96], 1 => [8, 96], _ => [3, 4, 32] };

    /// <summary>Per tensor, per channel, tiled, and channels with tiles; micro-scaled types always have their tiles.</summary>
    private static (int[] Channels, Dictionary<int, TileSize> Tiles) Granularity(QType qtype, int which, long[] shape)
    {
        int last = shape.Length - 1;
        int[] channels = which is 1 or 3 ? [.. Enumerable.Range(0, last)] : [];
        if (qtype.RequiredTileSize is { } required)
            return (channels, Tiles(last, required));
        return (channels, which switch { 2 => Tiles(last, 16), 3 => Tiles(last, 0.5), _ => [] });
    }

    private static Dictionary<int, TileSize> Tiles(int axis, TileSize size) => new() { [axis] = size };

    /// <summary>The largest error of each value when nothing but rounding happens.</summary>
    private static Tensor Bound(QType qtype, Tensor x, QArray array)
    {
        var scale = Expand(array.Scale, x.shape);
        var scaled = (x / scale).abs();
        var steps = qtype.Kind switch
        {
            // Two levels: everything may move to ±absmax.
            _ when qtype == QType.Int1 => full_like(scaled, 1.0),
            QTypeKind.Integer => full_like(scaled, qtype.Bits == 16 ? 1.0 : 0.5), // 32768 itself saturates by a whole step
            QTypeKind.NormalFloat => full_like(scaled, Widest(NormalFloat4.Levels)),
            _ => FloatStep(qtype, scaled),
        };
        // The scales of nvfp4 are few: one too small for e4m3 is 0, and so are its values.
        return where(scale.eq(0), x.abs(), scale * ((steps * 1.0001) + (scaled * 1e-6)));
    }

    /// <summary>Half a unit in the last place, of normal numbers and of subnormals; scales rounded downwards clip up to their rounding.</summary>
    private static Tensor FloatStep(QType qtype, Tensor scaled)
    {
        var magnitudes = qtype.FloatFormat!.Magnitudes;
        double relative = qtype.Bits == 4 ? 0.25 : qtype.FloatFormat == MiniFloat.E5M2 ? 0.125 : 0.0625;
        var clipped = (scaled - qtype.FloatFormat.MaxValue).clamp(min: 0);
        return maximum(scaled * relative, full_like(scaled, magnitudes[1] / 2.0)) + clipped;
    }

    private static double Widest(float[] levels) => levels.Zip(levels.Skip(1), (a, b) => (b - a) / 2.0).Max();

    private static Tensor Expand(Tensor scale, long[] shape) => GenericBroadcast.Expand(scale, shape);

    private static void AssertWithin(Tensor x, QArray array, Tensor bound)
    {
        var error = (array.Dequantize() - x).abs();
        Assert.True(error.le(bound).all().item<bool>(), $"{array}: an error is {(error / bound).max().to(ScalarType.Float64).item<double>()} times the bound");
    }

    private static void AssertRefused(Func<object> act, params string[] words)
    {
        var error = Assert.Throws<ArgumentException>(act);
        Assert.All(words, word => Assert.Contains(word, error.Message));
    }
}
