using QwixSharp.Kernels;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Assembled;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Tests.Kernels;

public unsafe class ClippedPairsTests
{
    private static readonly ClippedAvx2IntegerKernel Kernel = new();

    /// <summary>The sums of codes of one sign just within and just beyond what fits, and the ends of the range.</summary>
    private static readonly sbyte[] Telling = [-128, -127, -126, -65, -64, -63, -1, 0, 1, 2, 63, 64, 65, 125, 126, 127];

    [Fact]
    public void WhatIsLeftOfEveryPairFits()
    {
        foreach (var a0 in Telling)
            foreach (var a1 in Telling)
                foreach (var b0 in Telling)
                    foreach (var b1 in Telling)
                    {
                        var (a, b) = ClippedPairs.Clip(a0, a1, b0, b1);
                        int[] left = [a0 - a, a1, b0 - b, b1];
                        Assert.All(left, code => Assert.InRange(code, -128, 127));
                        Assert.All([a, b], taken => Assert.InRange(taken, -128, 127));
                        // One step's pair with bytes 0 … 255: it must not saturate.
                        foreach (var (first, second) in new[] { (left[0], left[1]), (left[2], left[3]) })
                        {
                            Assert.InRange(255 * (Math.Max(first, 0) + Math.Max(second, 0)), 0, short.MaxValue);
                            Assert.InRange(255 * (Math.Min(first, 0) + Math.Min(second, 0)), short.MinValue, 0);
                        }
                        // Both with −127 … 128: it may wrap, but fits.
                        Assert.InRange(left.Sum(code => code > 0 ? 128 * code : -127 * code), short.MinValue, short.MaxValue);
                        Assert.InRange(left.Sum(code => code > 0 ? -127 * code : 128 * code), short.MinValue, short.MaxValue);
                    }
    }

    [Fact]
    public void CodesThatFitAreLeftAlone()
    {
        Assert.Equal((0, 0), ClippedPairs.Clip(64, 64, -64, -63));
        Assert.Equal((0, 0), ClippedPairs.Clip(127, -128, 0, 0));
        Assert.Equal((1, 0), ClippedPairs.Clip(65, 64, 0, 0));
        Assert.Equal((0, -1), ClippedPairs.Clip(0, 0, -65, -64));
    }

    public static TheoryData<string> Patterns() => ["bell", "telling", "lowest", "highest", "alternating", "opposite"];

    [Theory]
    [MemberData(nameof(Patterns))]
    public void SumsAreExactWhateverIsClipped(string pattern)
    {
        SkipUnlessSupported();
        var random = new Random(1);
        foreach (var m in new[] { 5, 13, 32, 33, 70 })
            foreach (var k in new[] { 1, 60, 511, 520, 1100 })
            {
                // One panel of the pattern among so many that what it wants clipped is not too much; then others everywhere but few.
                var n = 16 * 60 - random.Next(16);
                var codes = Bell(random, n * k, deviation: 20);
                for (var i = 0; i < 16 * k; i++)
                    codes[i] = Code(random, pattern, i);
                for (var i = 0; i < codes.Length / 400; i++)
                    codes[random.Next(codes.Length)] = Code(random, pattern, i);
                Check(random, codes, m, n, k, threads: 1 + m % 3);
            }
    }

    [Fact]
    public void ServesWhatItCanGainBy()
    {
        SkipUnlessSupported();
        var random = new Random(2);
        using var bell = Sample.Integers(random, Bell(random, 64 * 512, deviation: 32), 64, 512, 512, 8);
        Assert.True(Kernel.Serves(bell.Packed, 5));
        Assert.False(Kernel.Serves(bell.Packed, 4));
        Assert.NotNull(bell.Packed.Clips);
        using var uniform = Sample.Integers(random, 64, 512, 512, 8);
        Assert.False(Kernel.Serves(uniform.Packed, 32));
        Assert.Null(uniform.Packed.Clips);
        using var tiled = Sample.Integers(random, Bell(random, 64 * 512, deviation: 32), 64, 512, 64, 8);
        Assert.False(Kernel.Serves(tiled.Packed, 32));
        using var half = Sample.Integers(random, 64, 512, 512, 4);
        Assert.False(Kernel.Serves(half.Packed, 32));
        var values = Sample.Floats(random, 64 * 512);
        fixed (float* v = values)
        {
            using var forAStep = PackedWeight.Quantize(v, 64, 512, 512, 8, 1);
            Assert.False(Kernel.Serves(forAStep, 32));
        }
    }

    [Fact]
    public void WhatIsFoundCountsAsMemoryOfTheWeight()
    {
        SkipUnlessSupported();
        var random = new Random(3);
        using var weight = Sample.Integers(random, Bell(random, 64 * 512, deviation: 32), 64, 512, 512, 8);
        var before = weight.Packed.Bytes;
        Assert.Equal(before + weight.Packed.Clips!.Bytes, weight.Packed.Bytes);
        Assert.True(weight.Packed.Clips.Bytes < before / 16);
    }

    private static void SkipUnlessSupported() => Assert.SkipUnless(Kernel.IsSupported, "needs AVX2");

    private static sbyte[] Bell(Random random, int count, double deviation)
    {
        var codes = new sbyte[count];
        for (var i = 0; i < count; i++)
            codes[i] = (sbyte)Math.Clamp(Math.Round(deviation * Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble())), -128, 127);
        return codes;
    }

    private static sbyte Code(Random random, string pattern, int place) => pattern switch
    {
        "telling" => Telling[random.Next(Telling.Length)],
        "lowest" => -128,
        "highest" => 127,
        "alternating" => place % 2 == 0 ? (sbyte)-128 : (sbyte)127,
        "opposite" => place / 4 % 2 == 0 ? (sbyte)-128 : (sbyte)127,
        _ => Bell(random, 1, deviation: 60)[0],
    };

    private static void Check(Random random, sbyte[] codes, int m, int n, int k, int threads)
    {
        using var weight = Sample.Integers(random, codes, n, k, k, 8);
        var x = new sbyte[m * k];
        for (var i = 0; i < x.Length; i++)
            x[i] = (i / k % 4) switch { 0 => -128, 1 => 127, 2 => (sbyte)(random.Next(2) == 0 ? -128 : 127), _ => (sbyte)random.Next(-128, 128) };
        var y = new float[m * n];
        float[] ones = [.. Enumerable.Repeat(1f, Math.Max(m, n))];
        fixed (sbyte* px = x)
        fixed (float* scales = ones, py = y)
        {
            new Span<float>(weight.Packed.Scales(0), weight.Packed.Panels * PackedWeight.PanelColumns).Fill(1);
            var input = new QuantizedInput { Source = QuantizedSource.Codes, Values = (nint)px, RowStride = k, Rows = m, Scales = (nint)scales, ScaleRowStride = 1 };
            // The kernel alone: if it did not serve the weight, this would throw.
            MatMul.Quantized(input, weight.Packed, new((nint)py, n), threads, new KernelSelector([Kernel], []));
        }
        for (var row = 0; row < m; row++)
            for (var column = 0; column < n; column++)
            {
                var sum = 0;
                for (var i = 0; i < k; i++)
                    sum += x[row * k + i] * codes[column * k + i];
                // Both are rounded to float32, which holds all but the longest sums exactly.
                if ((float)sum != y[row * n + column])
                    Assert.Fail($"M={m} N={n} K={k} at [{row},{column}]: {y[row * n + column]} instead of {sum}");
            }
    }
}
