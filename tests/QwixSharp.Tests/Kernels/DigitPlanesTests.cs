using QwixSharp.Kernels;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Tests.Kernels;

public unsafe class DigitPlanesTests
{
    /// <summary>Those that take digit planes, some only those of half bytes.</summary>
    private static readonly IntegerKernel[] Kernels =
        [.. KernelSelector.AllIntegerKernels().Where(k => k.IsSupported && (k.IsGeneral || k.PrefersPlanes(CodeFormat.Int4, rows: 2)))];

    [Fact]
    public void DigitsGiveTheValueBack()
    {
        var random = new Random(1);
        foreach (var size in new[] { 1e-14f, 0.7f, 1f, 1.999f, 2f, 1e14f })
            foreach (var count in new[] { 1, 15, 16, 37 })
            {
                var x = Sample.Floats(random, count, size);
                // The magnitudes next to a power of two use the digits' whole range.
                x[0] = MathF.BitDecrement(2 * size);
                x[^1] = -x[0];
                var digits = new sbyte[3 * count];
                int exponent;
                fixed (float* px = x)
                fixed (sbyte* pd = digits)
                {
                    exponent = DigitPlanes.Exponent(RowQuantizer.AbsMax(px, count));
                    DigitPlanes.Split(px, count, exponent, pd, pd + count, pd + 2 * count);
                }
                var scale = (double)DigitPlanes.HighestScale(exponent) / 65536;
                for (var i = 0; i < count; i++)
                    Assert.Equal(x[i], (digits[i] * 65536 + digits[count + i] * 256 + digits[2 * count + i]) * scale, Math.Abs(x[0]) * Math.ScaleB(1, -22));
            }
    }

    [Theory]
    [InlineData(float.NaN, false)]
    [InlineData(float.PositiveInfinity, false)]
    [InlineData(1e35f, false)]
    [InlineData(1e-35f, true)]
    [InlineData(10f, true)]
    [InlineData(1000f, false)]
    public void WhatCannotBeSplitIsRefused(float value, bool expected)
    {
        var x = Sample.Floats(new Random(1), 3 * 40);
        x[50] = value;
        fixed (float* px = x)
            Assert.Equal(expected, DigitPlanes.CanSplit(px, 40, 3, 40, 40));
        Array.Fill(x, 1e-35f);
        fixed (float* px = x)
            Assert.False(DigitPlanes.CanSplit(px, 40, 3, 40, 40));
        Array.Clear(x);
        fixed (float* px = x)
            Assert.True(DigitPlanes.CanSplit(px, 40, 3, 40, 40));
    }

    [Fact]
    public void ASpikeIsRefusedOnlyWhereItShadowsItsTile()
    {
        var x = Sample.Floats(new Random(1), 20_000, 1e-3f);
        fixed (float* px = x)
        {
            Assert.True(DigitPlanes.CanSplit(px, 20_000, 1, 20_000, 20_000));
            x[7] = 1;
            Assert.False(DigitPlanes.CanSplit(px, 20_000, 1, 20_000, 20_000));
            new Span<float>(px, 7).Clear();
            new Span<float>(px + 8, 120).Clear();
            Assert.True(DigitPlanes.CanSplit(px, 20_000, 1, 20_000, 128));
        }
    }

    /// <summary>Weights may be 0 where a few large values lie, so that only what the many others give is left.</summary>
    [Theory]
    [InlineData(2, 4096)]
    [InlineData(8, 4096)]
    [InlineData(200, 4096)]
    [InlineData(1, 32)]
    [InlineData(10, 300)]
    public void AFewSpikesAreNoMoreThanOne(int spikes, int depth)
    {
        var random = new Random(3);
        float[] x = Sample.Floats(random, depth);
        var codes = new sbyte[16 * depth];
        for (var i = 0; i < codes.Length; i++)
            codes[i] = (sbyte)random.Next(-127, 128);
        for (var i = 0; i < spikes; i++)
        {
            var k = (i * 97 + 5) % depth;
            x[k] = 1e4f;
            for (var n = 0; n < 16; n++)
                codes[n * depth + k] = 0;
        }
        using var weight = Sample.Integers(random, codes, 16, depth, depth, 8);
        var y = new float[16];
        fixed (float* px = x, py = y)
            MatMul.WeightOnly(px, depth, 1, weight.Packed, new((nint)py, 16), 1);
        for (var n = 0; n < 16; n++)
        {
            double expected = 0, magnitude = 0;
            for (var k = 0; k < depth; k++)
            {
                var term = (double)x[k] * codes[n * depth + k] * weight.Scale(n, k);
                expected += term;
                magnitude += Math.Abs(term);
            }
            Assert.Equal(expected, y[n], 1e-5 * magnitude);
        }
    }

    /// <summary>Of a few values the weight may leave one.</summary>
    [Theory]
    [InlineData(0.02f, 5, false)]
    [InlineData(0.2f, 5, true)]
    [InlineData(0, 5, true)]
    [InlineData(0.02f, 16, true)]
    public void ASmallOneOfAFewIsRefused(float small, int count, bool expected)
    {
        float[] x = [.. Enumerable.Range(0, count).Select(i => i == 2 ? small : 6 - 0.1f * i)];
        fixed (float* px = x)
            Assert.Equal(expected, DigitPlanes.CanSplit(px, count, 1, count, count));
    }

    [Fact]
    public void EveryIntegerKernelServesFloat32Activations()
    {
        var random = new Random(2);
        foreach (var kernel in Kernels)
            foreach (var bits in new[] { 4, 8 })
                foreach (var (m, n, k, tile) in new[] { (1, 20, 64, 64), (1, 33, 96, 32), (7, 40, 100, 20), (13, 17, 256, 256), (30, 16, 70, 35), (6, 20, 96, 32), (11, 17, 70, 20), (25, 33, 24, 8) })
                {
                    using var weight = Sample.Integers(random, n, k, tile, bits);
                    if (!kernel.Serves(weight.Packed, m * DigitPlanes.Count))
                        continue;
                    var x = Sample.Floats(random, m * k);
                    x[0] = 10;
                    var y = new float[m * n];
                    var numbers = weight.Dequantize();
                    fixed (float* px = x, py = y)
                    {
                        var input = new QuantizedInput { Source = QuantizedSource.Planes, Values = (nint)px, RowStride = k, Rows = m };
                        IntegerProduct.Run(kernel, [new(weight.Packed, new((nint)py, n))], input, 2);
                    }
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
                            Assert.True(Math.Abs(expected - y[row * n + column]) <= 5e-7 * magnitude, $"{kernel.Name} int{bits} M={m} K={k} tile={tile}: {y[row * n + column]} instead of {expected}");
                        }
                }
    }

    [Fact]
    public void SumsOfTheLargestDigitsAndCodesFit()
    {
        const int M = 11, N = 16, K = 64, Tile = 32;
        var codes = new sbyte[N * K];
        Array.Fill(codes, (sbyte)-8);
        float[] scales = [.. Enumerable.Repeat(1f, N * K / Tile)];
        // The magnitudes that use the digits' whole range, of both signs.
        float largest = 2 / 1.0051f, expected = largest * 8 * K;
        foreach (var kernel in Kernels)
            foreach (var sign in new[] { 1, -1 })
            {
                float[] x = [.. Enumerable.Repeat(sign * largest, M * K)], y = new float[M * N];
                fixed (sbyte* pc = codes)
                fixed (float* ps = scales, px = x, py = y)
                {
                    using var weight = PackedWeight.FromIntegers(pc, ps, N, K, Tile, bits: 4);
                    var input = new QuantizedInput { Source = QuantizedSource.Planes, Values = (nint)px, RowStride = K, Rows = M };
                    IntegerProduct.Run(kernel, [new(weight, new((nint)py, N))], input, 1);
                }
                Assert.All(y, value => Assert.Equal(-sign * expected, value, expected * 5e-7));
            }
    }

    [Fact]
    public void OneRowThatCannotBeSplitRefusesAll()
    {
        const int Rows = 300, Depth = 256;
        using var weight = Sample.Integers(new Random(1), 16, Depth, 32, 4);
        var x = Sample.Floats(new Random(2), Rows * Depth);
        fixed (float* px = x)
        {
            var input = new FloatInput((nint)px, Depth, Rows);
            Assert.True(PlanesCheck.CanSplit(input, weight.Packed, 2));
            foreach (var row in new[] { 0, 151, Rows - 1 })
            {
                var kept = x[row * Depth + 40];
                x[row * Depth + 40] = float.NaN;
                Assert.False(PlanesCheck.CanSplit(input, weight.Packed, 2));
                x[row * Depth + 40] = kept;
            }
            Assert.True(PlanesCheck.CanSplit(input, weight.Packed, 2));
        }
    }

    [Theory]
    [InlineData(8, true)]
    [InlineData(7, true)]
    [InlineData(6, false)]
    public void ValuesBesideTheLargestDecide(int large, bool expected)
    {
        // 32 values: the largest, some of a 30th of it, the rest of a 1000th.
        float[] x = [.. Enumerable.Range(0, 32).Select(i => i == 5 ? 1 : i >= 32 - large ? 1 / 30f : 1 / 1000f)];
        fixed (float* px = x)
            Assert.Equal(expected, DigitPlanes.CanSplit(px, 32, 1, 32, 32));
    }
}
