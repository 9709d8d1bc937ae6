using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Passes;

namespace QwixSharp.Tests.Kernels;

/// <summary>The bits of a gradient's mask, by themselves and with the fake-quant pass that makes them.</summary>
public unsafe class BitMaskPassTests
{
    /// <summary>Rows, columns and tile: odd sizes, tiles within a byte and across bytes, and shapes for two threads.</summary>
    public static TheoryData<int, int, int> Shapes => new()
    {
        { 1, 1, 1 }, { 3, 5, 5 }, { 2, 8, 8 }, { 7, 16, 16 }, { 5, 37, 3 }, { 4, 70, 32 }, { 3, 63, 21 }, { 9, 96, 32 },
        { 1, 100_003, 100_003 }, { 300, 257, 257 }, { 129, 515, 103 }, { 40, 4096, 128 }, { 3, 20_011, 20_011 }, { 70_001, 1, 1 }, { 0, 5, 5 }, { 5, 0, 5 },
    };

    [Theory]
    [MemberData(nameof(Shapes))]
    public void BitsAreThoseOfTheValuesInside(int rows, int columns, int tile)
    {
        var (x, shape, low, high) = Sampled(rows, columns, tile);
        var bits = NewBits(x.Length);
        fixed (float* px = x, pl = low, ph = high)
        fixed (byte* pb = bits)
            BitMaskPass.Mark(px, shape, pl, ph, pb, 2);
        Assert.Equal(Bits(x, shape, low, high), bits);
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void GradientsPassWhereTheirBitIsSet(int rows, int columns, int tile)
    {
        _ = tile;
        var random = new Random(rows + columns);
        var gradient = Sample.Floats(random, rows * columns);
        if (gradient.Length > 3)
            (gradient[0], gradient[1], gradient[2]) = (float.NaN, float.PositiveInfinity, -0f);
        var bits = NewBits(gradient.Length);
        random.NextBytes(bits);
        float[] expected = [.. gradient.Select((g, i) => (bits[i / 8] >> (i % 8) & 1) != 0 ? g : 0)], y = new float[gradient.Length];
        fixed (float* pg = gradient, py = y)
        fixed (byte* pb = bits)
        {
            BitMaskPass.Apply(pg, pb, gradient.Length, py, 2);
            BitMaskPass.Apply(pg, pb, gradient.Length, pg, 2);
        }
        Assert.Equal(expected.Select(BitConverter.SingleToInt32Bits), y.Select(BitConverter.SingleToInt32Bits));
        Assert.Equal(expected.Select(BitConverter.SingleToInt32Bits), gradient.Select(BitConverter.SingleToInt32Bits));
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void FakeQuantWithAFactorRoundsAsWithItsScalesAndMarksWhatItDoesNotClip(int rows, int columns, int tile)
    {
        const float Factor = 0.7f;
        var (x, shape, low, high) = Sampled(rows, columns, tile);
        Array.Clear(high);
        // The larger of two is NaN where one is.
        for (var i = 0; i < x.Length; i++)
            high[Tile(i, shape)] = MathF.Max(high[Tile(i, shape)], MathF.Abs(x[i]));
        for (var t = 0; t < high.Length; t++)
            (low[t], high[t]) = (-high[t] * Factor, high[t] * Factor);
        float[] scales = [.. high.Select(h => RowQuantizer.Scale(h, CodeRange.Int8))];
        float[] y = new float[x.Length], without = new float[x.Length], expected = new float[x.Length];
        var bits = NewBits(x.Length);
        fixed (float* px = x, py = y, pw = without, pe = expected, ps = scales)
        fixed (byte* pb = bits)
        {
            FakeQuantPass.WithScales(px, shape, ps, null, CodeRange.Int8, pe, null, null, null, 1);
            FakeQuantPass.AbsMax(px, shape, CodeRange.Int8, Factor, pw, null, 2);
            FakeQuantPass.AbsMax(px, shape, CodeRange.Int8, Factor, py, pb, 2);
        }
        Assert.Equal(expected, y);
        Assert.Equal(expected, without);
        Assert.Equal(Bits(x, shape, low, high), bits);
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void FakeQuantWithScalesIsQuantizingAndDequantizing(int rows, int columns, int tile)
    {
        var (x, shape, low, high) = Sampled(rows, columns, tile);
        var random = new Random(columns);
        float[] scales = [.. low.Select(_ => random.NextSingle() + 0.01f)], y = new float[x.Length], expected = new float[x.Length];
        int[] zeroPoints = [.. low.Select(_ => random.Next(-8, 8))];
        var codes = new sbyte[x.Length];
        var bits = NewBits(x.Length);
        fixed (float* px = x, py = y, pe = expected, ps = scales, pl = low, ph = high)
        fixed (int* pz = zeroPoints)
        fixed (sbyte* pc = codes)
        fixed (byte* pb = bits)
        {
            QuantizePass.WithScales(px, shape, ps, pz, CodeRange.OfBits(4), pc, 1);
            DequantizePass.Integers(pc, shape, ps, pz, pe, 1);
            FakeQuantPass.WithScales(px, shape, ps, pz, CodeRange.OfBits(4), py, pl, ph, pb, 2);
            // In place, what is marked is the input.
            FakeQuantPass.WithScales(px, shape, ps, pz, CodeRange.OfBits(4), px, pl, ph, pb, 2);
        }
        var (input, _, _, _) = Sampled(rows, columns, tile);
        for (var i = 0; i < x.Length; i++)
            Assert.Equal(float.IsNaN(input[i]) ? float.NaN : expected[i], y[i]);
        Assert.Equal(y, x);
        Assert.Equal(Bits(input, shape, low, high), bits);
    }

    /// <summary>What is too large for the caches is written around them where rows are aligned, and is the same.</summary>
    [Theory]
    [InlineData(8200)]
    [InlineData(8203)]
    public void LargeResultsAreTheSame(int columns)
    {
        const int Rows = 1030;
        const float Factor = 0.5f;
        var x = Sample.Floats(new Random(9), Rows * columns);
        float[] together = new float[x.Length], masked = new float[x.Length], one = new float[columns];
        byte[] bits = new byte[BitMaskPass.Bytes(x.Length)], ofOne = new byte[BitMaskPass.Bytes(columns)];
        fixed (float* px = x, pt = together, po = one, pm = masked)
        fixed (byte* pb = bits, pbo = ofOne)
        {
            FakeQuantPass.AbsMax(px, new(Rows, columns, columns), CodeRange.Int8, Factor, pt, pb, 2);
            BitMaskPass.Apply(pt, pb, x.Length, pm, 2);
            for (var row = 0; row < Rows; row += 103)
            {
                var from = row * columns;
                FakeQuantPass.AbsMax(px + from, new(1, columns, columns), CodeRange.Int8, Factor, po, pbo, 1);
                Assert.Equal(one, new Span<float>(pt + from, columns));
                BitMaskPass.Apply(po, pbo, columns, po, 1);
                Assert.Equal(one, new Span<float>(pm + from, columns));
            }
        }
    }

    /// <summary>Values with NaN and infinities among them, and bounds of which some are equal, swapped or NaN.</summary>
    private static (float[] X, RowShape Shape, float[] Low, float[] High) Sampled(int rows, int columns, int tile)
    {
        var random = new Random((rows * 7) + columns + tile);
        var shape = new RowShape(rows, columns, tile);
        var x = Sample.Floats(random, rows * columns);
        for (var i = 5; i < x.Length; i += 11)
            x[i] = random.Next(4) switch { 0 => float.NaN, 1 => float.PositiveInfinity, 2 => float.NegativeInfinity, _ => 0.25f };
        float[] low = [.. Enumerable.Range(0, (int)(rows * shape.Tiles)).Select(_ => -random.NextSingle())];
        float[] high = [.. low.Select(_ => random.NextSingle())];
        for (var t = 0; t < low.Length; t += 3)
            (low[t], high[t]) = random.Next(4) switch { 0 => (0.25f, 0.25f), 1 => (float.NegativeInfinity, float.PositiveInfinity), 2 => (0.5f, -0.5f), _ => (float.NaN, 1) };
        return (x, shape, low, high);
    }

    /// <summary>Bytes that are all wrong before they are written.</summary>
    private static byte[] NewBits(int count) => [.. Enumerable.Repeat((byte)0xA5, (int)BitMaskPass.Bytes(count))];

    private static byte[] Bits(float[] x, RowShape shape, float[] low, float[] high)
    {
        var bits = new byte[BitMaskPass.Bytes(x.Length)];
        for (var i = 0; i < x.Length; i++)
        {
            var tile = Tile(i, shape);
            if (x[i] >= low[tile] && x[i] <= high[tile])
                bits[i / 8] |= (byte)(1 << (i % 8));
        }
        return bits;
    }

    private static long Tile(int element, RowShape shape) => element / shape.Columns * shape.Tiles + element % shape.Columns / shape.TileSize;
}
