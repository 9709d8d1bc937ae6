using System.Runtime.Intrinsics.X86;
using QwixSharp.Kernels;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.ArmPaths;
using QwixSharp.Kernels.Avx2Paths;

namespace QwixSharp.Tests.Kernels;

public unsafe class IntegerProductTests
{
    /// <summary>What this machine runs, and the kernels whose instruction it may lack with a stand-in.</summary>
    internal static readonly IntegerKernel[] Kernels =
        [.. KernelSelector.AllIntegerKernels().Where(k => k.IsSupported), new ArmDotKernel<SoftwareSignedDot>(), .. Fma.IsSupported ? [new DotKernel<SoftwareDot>()] : Array.Empty<IntegerKernel>()];

    public static TheoryData<string, int> KernelsAndBits()
    {
        var data = new TheoryData<string, int>();
        foreach (var kernel in Kernels)
            foreach (var bits in new[] { 2, 3, 4, 5, 6, 7, 8 })
                data.Add(kernel.Name, bits);
        return data;
    }

    [Theory]
    [MemberData(nameof(KernelsAndBits))]
    public void SumsAreExactForEveryShape(string kernel, int bits)
    {
        var random = new Random(bits);
        var depths = new[] { 1, 3, 4, 8, 17, 32, 63, 64, 100, 256, 1024 };
        var heights = new[] { 1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 24, 25, 37 };
        foreach (var pattern in new[] { "any", "lowest", "highest", "extremes" })
            for (var trial = 0; trial < 20; trial++)
            {
                var k = depths[random.Next(depths.Length)];
                CheckExact(random, kernel, bits, pattern, heights[trial % heights.Length], n: random.Next(1, 70), k, tile: k, zeroPoint: trial % 3 == 0 ? random.Next(-128, 128) : 0);
            }
    }

    [Theory]
    [MemberData(nameof(KernelsAndBits))]
    public void TilesAreScaledOneByOne(string kernel, int bits)
    {
        var random = new Random(100 + bits);
        foreach (var tile in new[] { 1, 6, 16, 32, 64, 72, 128, 256, 272 })
            foreach (var pattern in new[] { "any", "extremes" })
                for (var trial = 0; trial < 6; trial++)
                    CheckExact(random, kernel, bits, pattern, m: random.Next(1, 30), n: random.Next(1, 50), k: tile * random.Next(2, 6) - (trial == 0 && tile > 1 ? 1 : 0), tile, zeroPoint: trial == 5 ? 9 : 0);
    }

    [Fact]
    public void EveryBlockHeightIsExact()
    {
        var random = new Random(5);
        foreach (var kernel in Kernels)
            foreach (var bits in new[] { 4, 8 })
                foreach (var (k, tile) in new[] { (64, 64), (128, 32), (72, 72), (40, 8) })
                    for (var m = 1; m <= 33; m++)
                        CheckExact(random, kernel.Name, bits, "extremes", m, n: 50, k, tile, zeroPoint: 0);
    }

    [Fact]
    public void ALongChannelOfExtremesDoesNotOverflow()
    {
        var random = new Random(1);
        foreach (var kernel in Kernels)
            CheckExact(random, kernel.Name, 8, "lowest", m: 1, n: 17, k: 200_000, tile: 200_000, zeroPoint: 0);
    }

    [Fact]
    public void SeveralThreadsGiveTheSameAsOne()
    {
        var random = new Random(3);
        using var weight = Sample.Integers(random, 512, 768, 768, 8);
        var x = Sample.Floats(random, 40 * 768);
        var one = new float[40 * 512];
        var three = new float[40 * 512];
        fixed (float* px = x, p1 = one, p3 = three)
        {
            MatMul.Dynamic(px, 768, 40, weight.Packed, new((nint)p1, 512), 1);
            for (var i = 0; i < 20; i++)
            {
                Array.Clear(three);
                MatMul.Dynamic(px, 768, 40, weight.Packed, new((nint)p3, 512), 3);
                Assert.Equal(one, three);
            }
        }
    }

    [Fact]
    public void CallersMayRunAtTheSameTime()
    {
        var random = new Random(3);
        using var weight = Sample.Integers(random, 256, 256, 32, 4);
        var x = Sample.Floats(random, 8 * 256);
        var expected = new float[8 * 256];
        fixed (float* px = x, py = expected)
            MatMul.Dynamic(px, 256, 8, weight.Packed, new((nint)py, 256), 1);
        Parallel.For(0, 8, _ =>
        {
            var y = new float[8 * 256];
            for (var i = 0; i < 20; i++)
            {
                Array.Clear(y);
                fixed (float* px = x, py = y)
                    MatMul.Dynamic(px, 256, 8, weight.Packed, new((nint)py, 256), 2);
                Assert.Equal(expected, y);
            }
        });
    }

    [Fact]
    public void BiasActivationAndStridesAreKept()
    {
        var random = new Random(4);
        using var weight = Sample.Integers(random, 21, 40, 40, 8);
        var x = Sample.Floats(random, 3 * 50);
        var bias = Sample.Floats(random, 21, 100);
        var plain = new float[3 * 30];
        var fused = new float[3 * 30];
        fixed (float* px = x, p = plain, f = fused, b = bias)
        {
            MatMul.Dynamic(px, 50, 3, weight.Packed, new((nint)p, 30), 1);
            MatMul.Dynamic(px, 50, 3, weight.Packed, new((nint)f, 30, (nint)b, FusedActivation.Relu), 1);
        }
        for (var m = 0; m < 3; m++)
        {
            for (var n = 0; n < 21; n++)
                Assert.Equal(Math.Max(plain[m * 30 + n] + bias[n], 0), fused[m * 30 + n]);
            for (var n = 21; n < 30; n++)
                Assert.Equal(0, fused[m * 30 + n]);
        }
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    public void ABadActivationSpoilsItsRowAlone(float bad)
    {
        var random = new Random(4);
        using var weight = Sample.Integers(random, 20, 40, 40, 8);
        var x = Sample.Floats(random, 3 * 40);
        x[47] = bad;
        var y = new float[3 * 20];
        fixed (float* px = x, py = y)
            MatMul.Dynamic(px, 40, 3, weight.Packed, new((nint)py, 20), 1);
        for (var i = 0; i < y.Length; i++)
            Assert.Equal(i / 20 != 1, float.IsFinite(y[i]));
    }

    [Fact]
    public void NothingIsDoneForEmptyProductsAndBiasFillsOneWithoutDepth()
    {
        var random = new Random(4);
        using var weight = Sample.Integers(random, 5, 0, 32, 8);
        float[] y = [9, 9, 9, 9, 9];
        float[] bias = [1, 2, 3, 4, 5];
        var x = 0f;
        fixed (float* py = y, pb = bias)
        {
            MatMul.Dynamic(&x, 0, 0, weight.Packed, new((nint)py, 5, (nint)pb), 1);
            Assert.Equal([9, 9, 9, 9, 9], y);
            MatMul.Dynamic(&x, 0, 1, weight.Packed, new((nint)py, 5, (nint)pb), 1);
            Assert.Equal(bias, y);
        }
    }

    [Fact]
    public void CodebooksAreRefused()
    {
        using var weight = Sample.Codebook(new Random(1), 4, 8, 8, Sample.Nf4);
        var error = Assert.Throws<ArgumentException>(() => MatMul.Dynamic(null, 0, 0, weight.Packed, default, 1));
        Assert.Contains("weight-only", error.Message);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void DynamicCodesAreTheReferencesCodes(bool scalePerTile)
    {
        var random = new Random(8);
        foreach (var kernel in Kernels)
        {
            using var weight = Sample.Integers(random, 33, 96, 32, 4);
            var x = Sample.Floats(random, 5 * 96, 3);
            var y = new float[5 * 33];
            fixed (float* px = x, py = y)
                MatMul.Dynamic(px, 96, 5, weight.Packed, new((nint)py, 33), 2, scalePerTile: scalePerTile, selector: Sample.Pinned(kernel));
            for (var m = 0; m < 5; m++)
                for (var n = 0; n < 33; n++)
                {
                    var sum = 0.0;
                    for (var t = 0; t < 3; t++)
                    {
                        var row = x.AsSpan(m * 96, 96);
                        var scale = PlainScale(scalePerTile ? row.Slice(t * 32, 32) : row);
                        var codes = 0L;
                        for (var k = t * 32; k < t * 32 + 32; k++)
                            codes += (long)Math.Clamp(MathF.Round(row[k] / scale), -128, 127) * weight.Codes[n * 96 + k];
                        sum += (double)codes * scale * weight.Scale(n, t * 32);
                    }
                    Assert.Equal(sum, y[m * 33 + n], 1e-5 * Math.Max(1, Math.Abs(sum)));
                }
        }
    }

    private static float PlainScale(ReadOnlySpan<float> x)
    {
        var largest = 0f;
        foreach (var v in x)
            largest = MathF.Max(largest, MathF.Abs(v));
        return largest / 127.5f;
    }

    private static void CheckExact(Random random, string kernelName, int bits, string pattern, int m, int n, int k, int tile, int zeroPoint)
    {
        var kernel = Kernels.Single(c => c.Name == kernelName);
        using var weight = Sample.Integers(random, n, k, tile, bits, pattern);
        var codes = new sbyte[m * k];
        for (var i = 0; i < codes.Length; i++)
            codes[i] = (sbyte)(pattern == "any" ? random.Next(-128, 128) : random.Next(8) != 0 ? -128 : 127);
        var scales = Sample.Floats(random, m);
        var y = new float[m * n];
        fixed (sbyte* pc = codes)
        fixed (float* ps = scales, py = y)
        {
            var input = new QuantizedInput
            {
                Source = QuantizedSource.Codes,
                Values = (nint)pc,
                RowStride = k,
                Rows = m,
                Scales = (nint)ps,
                ScaleRowStride = 1,
                ZeroPoints = (nint)(&zeroPoint),
            };
            MatMul.Quantized(input, weight.Packed, new((nint)py, n), 1, Sample.Pinned(kernel));
        }
        for (var row = 0; row < m; row++)
            for (var column = 0; column < n; column++)
            {
                var expected = 0.0;
                var size = 0.0;
                for (var t = 0; t < weight.Tiles; t++)
                {
                    var sum = 0L;
                    for (var i = t * tile; i < Math.Min(k, (t + 1) * tile); i++)
                        sum += (codes[row * k + i] - zeroPoint) * weight.Codes[column * k + i];
                    var scaled = sum * (double)weight.Scale(column, t * tile) * scales[row];
                    expected += scaled;
                    size += Math.Abs(scaled) + (zeroPoint == 0 || weight.Tiles == 1 ? 0 : 128.0 * 128 * tile * weight.Scale(column, t * tile) * Math.Abs(scales[row]));
                }
                // One tile: three float32 roundings, far below what one wrong code does to the sums of these lengths.
                var tolerance = size * (weight.Tiles == 1 ? 2.5e-7 : 1e-6);
                Assert.True(Math.Abs(expected - y[row * n + column]) <= tolerance, $"{kernelName} int{bits} {pattern} M={m} N={n} K={k} tile={tile} zp={zeroPoint} at [{row},{column}]: {y[row * n + column]} instead of {expected}");
            }
    }
}
