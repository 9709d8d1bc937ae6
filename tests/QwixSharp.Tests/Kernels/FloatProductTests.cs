using QwixSharp.Kernels;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Tests.Kernels;

public unsafe class FloatProductTests
{
    /// <summary>What the machine's own selector takes, digit planes included.</summary>
    private const string Default = "default";

    private static readonly string[] Formats = ["int8", "int4", "int2", "nf4", "odd codebook", "e4m3", "e5m2", "mxfp8", "mxfp4", "nvfp4", "odd table"];

    public static TheoryData<string, string> KernelsAndFormats()
    {
        var data = new TheoryData<string, string>();
        foreach (var kernel in KernelSelector.AllFloatKernels().Where(k => k.IsSupported).Select(k => k.Name).Append(Default))
            foreach (var format in Formats)
                data.Add(kernel, format);
        return data;
    }

    [Theory]
    [MemberData(nameof(KernelsAndFormats))]
    public void EqualsDequantizeThenMultiply(string kernel, string format)
    {
        var random = new Random(1);
        foreach (var tile in new[] { 1, 6, 32, 64, 128, 4096 })
            for (var trial = 0; trial < 12; trial++)
                Check(random, kernel, format, m: random.Next(1, 60), n: random.Next(1, 40), k: tile == 4096 ? random.Next(1, 300) : tile * random.Next(1, 4) + trial % 2, tile);
    }

    [Theory]
    [MemberData(nameof(KernelsAndFormats))]
    public void EveryBlockHeightIsRight(string kernel, string format)
    {
        var random = new Random(2);
        for (var m = 1; m <= 42; m++)
        {
            Check(random, kernel, format, m, n: 33, k: 64, tile: 64);
            Check(random, kernel, format, m, n: 17, k: 96, tile: 32);
        }
    }

    /// <summary>Blocks are higher where there are many panels.</summary>
    [Fact]
    public void BlocksOfManyRowsAndPanelsAreRight()
    {
        foreach (var kernel in KernelSelector.AllFloatKernels().Where(k => k.IsSupported).Select(k => k.Name).Append(Default))
            Check(new Random(6), kernel, "int4", m: 137, n: 1030, k: 272, tile: 272);
    }

    [Theory]
    [MemberData(nameof(KernelsAndFormats))]
    public void OneRowIsRightAtEveryTile(string kernel, string format)
    {
        var random = new Random(7);
        foreach (var tile in new[] { 1, 6, 8, 24, 32, 64, 4096 })
            foreach (var k in new[] { 1, tile, 3 * tile + 1, 200 })
                Check(random, kernel, format, m: 1, n: random.Next(1, 40), k: Math.Min(k, 600), tile);
    }

    [Theory]
    [MemberData(nameof(KernelsAndFormats))]
    public void MagnitudesFarFromOneKeepTheirPrecision(string kernel, string format)
    {
        var random = new Random(3);
        foreach (var size in new[] { 1e-30f, 1e-20f, 1e-5f, 1e10f, 1e28f, 1e33f })
            foreach (var m in new[] { 1, 5 })
                Check(random, kernel, format, m, n: 16, k: 64, tile: 32, size);
    }

    /// <summary>Equal values, all of one sign: added up one after the other, their roundings would lean to one side.</summary>
    [Theory]
    [MemberData(nameof(KernelsAndFormats))]
    public void LongSumsOfEqualValuesKeepTheirPrecision(string kernel, string format)
    {
        foreach (var (k, tile) in new[] { (4096, 4096), (5000, 5000), (4096, 32), (6000, 1500) })
            foreach (var m in new[] { 1, 2, 4, 9, 33 })
            {
                using var weight = Constant(format, 17, k, tile);
                var y = Multiply(Selector(kernel), weight, [.. Enumerable.Repeat(0.3f, m * k)], m);
                var expected = weight.Dequantize().Take(k).Sum() * 0.3f;
                Assert.All(y, v => Assert.True(Math.Abs(v - expected) <= 1e-5 * Math.Abs(expected), $"M={m} K={k} tile={tile}: {v} instead of {expected}"));
            }
    }

    [Theory]
    [MemberData(nameof(KernelsAndFormats))]
    public void NaNAndInfinityGoWhereFloatArithmeticPutsThem(string kernel, string format)
    {
        var random = new Random(4);
        using var weight = Make(random, format, 20, 40, 40);
        var x = Sample.Floats(random, 3 * 40);
        x[5] = float.NaN;
        x[47] = float.NegativeInfinity;
        Check(Multiply(Selector(kernel), weight, x, 3));
        // One row has loops of its own.
        Check([.. x.Chunk(40).SelectMany(row => Multiply(Selector(kernel), weight, row, 1))]);

        void Check(float[] y)
        {
            for (var n = 0; n < 20; n++)
            {
                Assert.True(float.IsNaN(y[n]));
                Assert.False(float.IsFinite(y[20 + n]));
                Assert.True(float.IsFinite(y[40 + n]));
                if (weight.Number(n, 7) != 0)
                    Assert.Equal(weight.Number(n, 7) > 0 ? float.NegativeInfinity : float.PositiveInfinity, y[20 + n]);
            }
        }
    }

    [Fact]
    public void CodesWithoutANumberAreStillServed()
    {
        var random = new Random(5);
        var codes = new byte[16 * 8];
        Array.Fill(codes, (byte)0x38);
        codes[3] = 0x7F;
        float[] scales = [.. Enumerable.Repeat(1f, 16)];
        var x = Sample.Floats(random, 8);
        var y = new float[16];
        fixed (byte* c = codes)
        fixed (float* s = scales, px = x, py = y)
        {
            using var weight = QwixSharp.Kernels.Weights.PackedWeight.FromTable(c, Sample.E4M3, s, 16, 8, 8);
            MatMul.WeightOnly(px, 8, 1, weight, new((nint)py, 16), 1);
        }
        Assert.True(float.IsNaN(y[0]));
        Assert.All(y[1..], v => Assert.Equal(x.Sum(), v, 1e-5f));
    }

    [Fact]
    public void BiasActivationStridesAndThreads()
    {
        var random = new Random(6);
        using var weight = Make(random, "nf4", 200, 256, 32);
        var x = Sample.Floats(random, 30 * 300);
        var bias = Sample.Floats(random, 200);
        var expected = new float[30 * 210];
        var y = new float[30 * 210];
        fixed (float* px = x, pb = bias, pe = expected, py = y)
        {
            MatMul.WeightOnly(px, 300, 30, weight.Packed, new((nint)pe, 210), 1);
            MatMul.WeightOnly(px, 300, 30, weight.Packed, new((nint)py, 210, (nint)pb, FusedActivation.Relu), 3);
        }
        for (var i = 0; i < y.Length; i++)
            Assert.Equal(i % 210 < 200 ? MathF.Max(0, expected[i] + bias[i % 210]) : 0, y[i]);
    }

    private static KernelSelector Selector(string name) => name == Default
        ? KernelSelector.Default
        : new([], [KernelSelector.AllFloatKernels().Single(k => k.Name == name), .. KernelSelector.AllFloatKernels()]);

    private static Sample Make(Random random, string format, int n, int k, int tile) => format switch
    {
        "int8" => Sample.Integers(random, n, k, tile, 8),
        "int4" => Sample.Integers(random, n, k, tile, 4),
        "int2" => Sample.Integers(random, n, k, tile, 2),
        "nf4" => Sample.Codebook(random, n, k, tile, Sample.Nf4),
        "odd codebook" => Sample.Codebook(random, n, k, tile, [.. Enumerable.Range(0, 16).Select(i => MathF.Sin(i * i))]),
        "e4m3" => Sample.Bytes(random, n, k, tile, Sample.E4M3),
        "e5m2" => Sample.Bytes(random, n, k, tile, Sample.E5M2),
        "mxfp8" => Sample.Bytes(random, n, k, tile, Sample.E4M3, Sample.PowersOfTwo(random, n, k, tile)),
        "mxfp4" => Sample.Codebook(random, n, k, tile, Sample.E2M1, Sample.PowersOfTwo(random, n, k, tile)),
        "nvfp4" => Sample.Codebook(random, n, k, tile, Sample.E2M1, Sample.SmallFloats(random, n, k, tile)),
        _ => Sample.Bytes(random, n, k, tile, [.. Enumerable.Range(0, 256).Select(i => MathF.Sin(i))]),
    };

    /// <summary>A weight with one code and one scale.</summary>
    private static Sample Constant(string format, int n, int k, int tile)
    {
        using var any = Make(new Random(8), format, 1, 1, 1);
        var codes = new sbyte[n * k];
        Array.Fill(codes, any.Table is null || any.Table.Length == 256 ? (sbyte)1 : (sbyte)11);
        float[] scales = [.. Enumerable.Repeat(0.7f, n * ((k + tile - 1) / tile))];
        fixed (sbyte* c = codes)
        fixed (float* s = scales)
            return new Sample
            {
                Packed = any.Table switch
                {
                    null => PackedWeight.FromIntegers(c, s, n, k, tile, int.Parse(format[3..])),
                    { Length: 16 } table => PackedWeight.FromCodebook((byte*)c, paired: false, table, s, n, k, tile),
                    var table => PackedWeight.FromTable((byte*)c, table, s, n, k, tile),
                },
                N = n,
                K = k,
                Tile = tile,
                Codes = codes,
                Scales = scales,
                Table = any.Table,
            };
    }

    private static float[] Multiply(KernelSelector selector, Sample weight, float[] x, int m)
    {
        var y = new float[m * weight.N];
        fixed (float* px = x, py = y)
            MatMul.WeightOnly(px, weight.K, m, weight.Packed, new((nint)py, weight.N), 1, selector);
        return y;
    }

    private static void Check(Random random, string kernel, string format, int m, int n, int k, int tile, float size = 1)
    {
        using var weight = Make(random, format, n, k, tile);
        var x = Sample.Floats(random, m * k, size);
        var y = Multiply(Selector(kernel), weight, x, m);
        var numbers = weight.Dequantize();
        for (var row = 0; row < m; row++)
            for (var column = 0; column < n; column++)
            {
                var expected = 0.0;
                var magnitude = 0.0;
                for (var i = 0; i < k; i++)
                {
                    var term = (double)x[row * k + i] * numbers[column * k + i];
                    expected += term;
                    magnitude += Math.Abs(term);
                }
                Assert.True(
                    Math.Abs(expected - y[row * n + column]) <= 2e-6 * magnitude,
                    $"{kernel} {format} M={m} N={n} K={k} tile={tile} x~{size} at [{row},{column}]: {y[row * n + column]} instead of {expected}");
            }
    }
}
