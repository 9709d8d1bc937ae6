using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Passes;

namespace QwixSharp.Tests.Kernels;

public unsafe class PassTests
{
    [Theory]
    [InlineData(2)]
    [InlineData(4)]
    [InlineData(8)]
    public void QuantizingAndDequantizingFollowTheFormulaExactly(int bits)
    {
        var random = new Random(bits);
        var range = CodeRange.OfBits(bits);
        foreach (var (rows, columns, tile) in new[] { (1, 1, 1), (3, 37, 37), (5, 96, 32), (4, 70, 32), (300, 256, 256), (7, 50, 100) })
        {
            var shape = new RowShape(rows, columns, tile);
            var x = Sample.Floats(random, rows * columns, 3);
            // Ties: the largest magnitude is a half above the last code, and other values lie on halves.
            x[0] = -range.Bound;
            for (var i = 1; i < columns; i += 3)
                x[i] = random.Next(range.Lowest, range.Highest) + 0.5f;
            var codes = new sbyte[x.Length];
            var scales = new float[rows * shape.Tiles];
            var y = new float[x.Length];
            var fake = new float[x.Length];
            var again = new sbyte[x.Length];
            fixed (float* px = x, ps = scales, py = y, pf = fake)
            fixed (sbyte* pc = codes, pa = again)
            {
                QuantizePass.AbsMax(px, shape, range, pc, ps, 2);
                QuantizePass.WithScales(px, shape, ps, null, range, pa, 2);
                DequantizePass.Integers(pc, shape, ps, null, py, 2);
                FakeQuantPass.AbsMax(px, shape, range, 1, pf, null, 2);
            }
            Assert.Equal(codes, again);
            Assert.Equal(y.Select(BitConverter.SingleToInt32Bits), fake.Select(BitConverter.SingleToInt32Bits));
            for (var i = 0; i < x.Length; i++)
            {
                var (row, column) = (i / columns, i % columns);
                var from = row * columns + column / tile * tile;
                var largest = x[from..Math.Min(from + tile, (row + 1) * columns)].Max(MathF.Abs);
                var scale = largest / range.Bound;
                Assert.Equal(scale, scales[row * shape.Tiles + column / tile]);
                Assert.Equal(Math.Clamp(MathF.Round(x[i] / scale), range.Lowest, range.Highest), codes[i]);
                Assert.Equal(codes[i] * scale, y[i]);
            }
        }
    }

    [Theory]
    [InlineData(4)]
    [InlineData(8)]
    public void AsymmetricRangesIncludeZeroAndFollowTheFormulaExactly(int bits)
    {
        var random = new Random(bits);
        var range = CodeRange.OfBits(bits);
        foreach (var (rows, columns, tile) in new[] { (1, 1, 1), (3, 37, 37), (5, 96, 32), (4, 70, 32), (300, 256, 256), (7, 50, 100) })
            foreach (var shift in new[] { 0f, 5, -5 })
            {
                var shape = new RowShape(rows, columns, tile);
                var x = Sample.Floats(random, rows * columns, 3).Select(v => v + shift).ToArray();
                var codes = new sbyte[x.Length];
                var scales = new float[rows * shape.Tiles];
                var zeroPoints = new int[scales.Length];
                var fake = new float[x.Length];
                fixed (float* px = x, ps = scales, pf = fake)
                fixed (int* pz = zeroPoints)
                fixed (sbyte* pc = codes)
                {
                    QuantizePass.MinMax(px, shape, range, pc, ps, pz, 2);
                    FakeQuantPass.MinMax(px, shape, range, pf, 2);
                }
                for (var i = 0; i < x.Length; i++)
                {
                    var (row, column) = (i / columns, i % columns);
                    var from = row * columns + column / tile * tile;
                    var values = x[from..Math.Min(from + tile, (row + 1) * columns)];
                    var (min, max) = (MathF.Min(0, values.Min()), MathF.Max(0, values.Max()));
                    var scale = (max - min) / (range.Highest - range.Lowest);
                    var zero = Math.Clamp((int)MathF.Round(range.Lowest - min / scale), range.Lowest, range.Highest);
                    var at = row * shape.Tiles + column / tile;
                    Assert.Equal((scale, zero), (scales[at], zeroPoints[at]));
                    Assert.Equal(Math.Clamp(MathF.Round(x[i] / scale + zero), range.Lowest, range.Highest), codes[i]);
                    Assert.Equal((codes[i] - zero) * scale, fake[i]);
                }
            }
    }

    [Fact]
    public void AsymmetricRangesOfZerosAndOfNaN()
    {
        Assert.Equal((1, -128), RowQuantizer.ScaleAndZeroPoint(0, 0, CodeRange.Int8));
        foreach (var length in new[] { 1, 7, 8, 9, 20 })
            for (var place = 0; place < length; place++)
            {
                var x = Sample.Floats(new Random(1), length);
                x[place] = float.NaN;
                fixed (float* px = x)
                {
                    var (min, max) = RowQuantizer.MinMax(px, length);
                    Assert.True(float.IsNaN(min) && float.IsNaN(max));
                    Assert.True(float.IsNaN(RowQuantizer.ScaleAndZeroPoint(min, max, CodeRange.Int8).Scale));
                }
            }
    }

    [Fact]
    public void EveryKindOfLargestMagnitudeGivesTheReferencesScale()
    {
        Assert.Equal(1, RowQuantizer.Scale(0, CodeRange.Int8));
        Assert.Equal(1, RowQuantizer.Scale(1e-18f, CodeRange.Int8));
        Assert.Equal(1e-16f / 127.5f, RowQuantizer.Scale(1e-16f, CodeRange.Int8));
        Assert.True(float.IsNaN(RowQuantizer.Scale(float.NaN, CodeRange.Int8)));
    }

    /// <summary>The reference has an infinite scale here; dequantized, all is NaN with either.</summary>
    [Fact]
    public void AnInfiniteMagnitudeHasNoScale()
    {
        Assert.True(float.IsNaN(RowQuantizer.Scale(float.PositiveInfinity, CodeRange.Int8)));
        foreach (var (min, max) in new[] { (0f, float.PositiveInfinity), (float.NegativeInfinity, 0f), (float.NegativeInfinity, float.PositiveInfinity) })
            Assert.True(float.IsNaN(RowQuantizer.ScaleAndZeroPoint(min, max, CodeRange.Int8).Scale));
    }

    [Fact]
    public void AbsMaxFindsNaNAnywhere()
    {
        foreach (var length in new[] { 1, 15, 16, 31, 32, 33, 100 })
            for (var place = 0; place < length; place++)
            {
                var x = Sample.Floats(new Random(1), length);
                x[(place + 1) % length] = float.NegativeInfinity;
                x[place] = place % 2 == 0 ? float.NaN : -float.NaN;
                fixed (float* px = x)
                    Assert.True(float.IsNaN(RowQuantizer.AbsMax(px, length)));
            }
    }

    [Fact]
    public void ZeroPointsShiftCodesAndSaturationHasNoWrap()
    {
        float[] x = [0, 1, -1, 1e30f, -1e30f, float.PositiveInfinity, float.NegativeInfinity, 0.5f, 1.5f, 2.5f, 0, 0, 0, 0, 0, 0, 1e30f];
        float[] scale = [1];
        int[] zero = [3];
        var codes = new sbyte[x.Length];
        var y = new float[x.Length];
        fixed (float* px = x, ps = scale, py = y)
        fixed (int* pz = zero)
        fixed (sbyte* pc = codes)
        {
            QuantizePass.WithScales(px, new(1, x.Length, x.Length), ps, pz, CodeRange.Int8, pc, 1);
            DequantizePass.Integers(pc, new(1, x.Length, x.Length), ps, pz, py, 1);
        }
        Assert.Equal([3, 4, 2, 127, -128, 127, -128, 4, 4, 6, 3, 3, 3, 3, 3, 3, 127], codes);
        Assert.Equal(codes.Select(c => c - 3f), y);
    }

    [Fact]
    public void TablesWorkElementByElement()
    {
        var random = new Random(2);
        var shape = new RowShape(3, 21, 8);
        var codes = new byte[63];
        random.NextBytes(codes);
        var table = Sample.Floats(random, 256);
        var scales = Sample.Floats(random, 9);
        var y = new float[63];
        fixed (byte* pc = codes)
        fixed (float* pt = table, ps = scales, py = y)
            DequantizePass.Table(pc, shape, pt, ps, py, 1);
        for (var i = 0; i < 63; i++)
            Assert.Equal(table[codes[i]] * scales[i / 21 * 3 + i % 21 / 8], y[i]);
    }

    [Fact]
    public void FakeQuantKeepsNaN()
    {
        var x = Sample.Floats(new Random(1), 20);
        x[3] = float.NaN;
        fixed (float* px = x)
            FakeQuantPass.AbsMax(px, new(1, 20, 20), CodeRange.Int8, 1, px, null, 1);
        Assert.All(x, v => Assert.True(float.IsNaN(v)));
    }

    [Theory]
    [InlineData(2, true)]
    [InlineData(2, false)]
    [InlineData(4, true)]
    [InlineData(4, false)]
    public void PackedCodesComeBack(int bits, bool signed)
    {
        var random = new Random(bits);
        foreach (var count in new[] { 0, 1, 2, 3, 5, 31, 32, 33, 100, 129 })
        {
            var low = signed ? -(1 << (bits - 1)) : 0;
            sbyte[] codes = [.. Enumerable.Range(0, count).Select(_ => (sbyte)random.Next(low, low + (1 << bits)))];
            var packed = new byte[BitPacking.Bytes(count, bits) + 1];
            var back = new sbyte[count + 1];
            fixed (sbyte* pc = codes, pb = back)
            fixed (byte* pp = packed)
            {
                BitPacking.Pack(pc, count, bits, pp);
                BitPacking.Unpack(pp, count, bits, signed, pb);
            }
            Assert.Equal(codes, back[..count]);
            Assert.Equal(0, packed[^1]);
            if (count > 1)
                Assert.Equal(codes[0] & ((1 << bits) - 1), packed[0] & ((1 << bits) - 1));
        }
    }

    [Fact]
    public void OddBitsAreRefused() => Assert.Throws<ArgumentOutOfRangeException>(() => BitPacking.Bytes(8, 3));
}
