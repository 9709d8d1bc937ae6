using QwixSharp.Kernels;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Passes;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Tests.Kernels;

/// <summary>The passes that quantize straight into the form of the kernels, against the same steps one by one.</summary>
public unsafe class TrainingPassTests
{
    private static readonly (int Rows, int Depth, int Tile)[] Shapes =
    [
        (0, 5, 5), (3, 0, 1), (1, 1, 1), (16, 16, 16), (17, 37, 37), (33, 96, 32), (16, 50, 20), (3, 64, 7), (40, 72, 72),
        (100, 128, 128), (31, 24, 24), (64, 1024, 256), (15, 20, 20), (2, 70_000, 70_000),
    ];

    [Theory]
    [InlineData(2)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(8)]
    public void AWeightQuantizedIntoPanelsIsTheSameAsOneQuantizedAndThenPacked(int bits)
    {
        var random = new Random(bits);
        foreach (var (rows, depth, tile) in Shapes)
            foreach (var threads in new[] { 1, 3 })
            {
                var x = Values(random, rows, depth, CodeRange.OfBits(bits));
                var (codes, scales) = QuantizeRows(x, new(rows, depth, tile), bits);
                fixed (float* px = x, ps = scales)
                fixed (sbyte* pc = codes)
                {
                    using var expected = PackedWeight.FromIntegers(pc, ps, rows, depth, tile, bits, threads);
                    using var actual = PackedWeight.Quantize(px, rows, depth, tile, bits, threads);
                    Assert.Equal((expected.Format, expected.Tiles, expected.Panels, expected.IsSplitChannel), (actual.Format, actual.Tiles, actual.Panels, actual.IsSplitChannel));
                    Assert.Equal(new Span<byte>(expected.Codes(0), (int)expected.PanelBytes * expected.Panels), new Span<byte>(actual.Codes(0), (int)actual.PanelBytes * actual.Panels));
                    Assert.Equal(new Span<float>(expected.Scales(0), expected.Panels * expected.Tiles * 16), new Span<float>(actual.Scales(0), expected.Panels * expected.Tiles * 16));
                }
            }
    }

    [Fact]
    public void AWeightWithRowsThatAreNotFiniteGivesTheProductsOfThoseRowsAlone()
    {
        var x = Sample.Floats(new Random(1), 20 * 40);
        var y = new float[20];
        var clean = new float[20];
        var input = Sample.Floats(new Random(2), 40);
        fixed (float* px = x, py = y, pi = input, pc = clean)
        {
            Multiply(px, pi, pc);
            x[3 * 40 + 7] = float.NaN;
            x[5 * 40 + 8] = float.PositiveInfinity;
            Multiply(px, pi, py);
        }
        for (var row = 0; row < 20; row++)
            if (row is 3 or 5)
                Assert.False(float.IsFinite(y[row]));
            else
                Assert.Equal(clean[row], y[row]);

        static void Multiply(float* w, float* x, float* y)
        {
            using var weight = PackedWeight.Quantize(w, 20, 40, 40, 8, 1);
            MatMul.Dynamic(x, 40, 1, weight, new((nint)y, 20), 1);
        }
    }

    [Theory]
    [InlineData(3)]
    [InlineData(8)]
    public void ATransposedWeightHasTheCodesOfTheOther(int bits)
    {
        var random = new Random(bits);
        foreach (var (rows, depth, tile) in Shapes)
        {
            using var weight = Sample.Integers(random, rows, depth, tile, bits);
            using var transposed = weight.Packed.Transpose(threads: 2);
            Assert.Equal((depth, rows, CodeFormat.Int8), (transposed.Rows, transposed.Depth, transposed.Format));
            for (var row = 0; row < rows; row++)
                for (var k = 0; k < depth; k++)
                {
                    Assert.Equal(weight.Codes[row * depth + k], transposed.Code(k, row));
                    Assert.Equal(1, transposed.Scale(k, row));
                }
        }
        using var table = Sample.Codebook(random, 4, 8, 8, Sample.Nf4);
        Assert.Throws<InvalidOperationException>(() => table.Packed.Transpose(1));
    }

    [Fact]
    public void CodesThatLieAsColumnsArePackedAsRows()
    {
        var random = new Random(3);
        foreach (var (rows, depth, tile) in Shapes)
        {
            var codes = Codes(random, rows * depth);
            fixed (sbyte* pc = codes)
            {
                using var weight = PackedWeight.FromColumns(pc, rows, depth, tile, threads: 2);
                for (var row = 0; row < rows; row++)
                    for (var k = 0; k < depth; k++)
                        Assert.Equal(codes[k * rows + row], weight.Code(row, k));
            }
        }
    }

    [Theory]
    [InlineData(true, 8)]
    [InlineData(false, 8)]
    [InlineData(true, 4)]
    public void AGradientIsMultipliedAndThenQuantizedByRows(bool hasFactors, int bits)
    {
        var random = new Random(4);
        foreach (var (rows, columns, tile) in Shapes)
        {
            var x = Values(random, rows, columns, CodeRange.OfBits(bits));
            var factors = Sample.Floats(random, columns);
            var product = hasFactors ? [.. x.Select((v, i) => v * factors[i % columns])] : x;
            var (codes, scales) = QuantizeRows(product, new(rows, columns, tile), bits);
            var actual = new sbyte[x.Length];
            var actualScales = new float[scales.Length];
            fixed (float* px = x, pf = factors, ps = actualScales)
            fixed (sbyte* pa = actual)
                GradientPass.Rows(px, hasFactors ? pf : null, new(rows, columns, tile), CodeRange.OfBits(bits), pa, ps, 2);
            Assert.Equal(codes, actual);
            Assert.Equal(scales, actualScales);
        }
    }

    [Theory]
    [InlineData(true, 8)]
    [InlineData(false, 8)]
    [InlineData(true, 4)]
    public void AGradientIsMultipliedAndThenQuantizedByColumns(bool hasFactors, int bits)
    {
        var random = new Random(5);
        foreach (var (columns, depth, tile) in Shapes)
        {
            var transposed = Values(random, columns, depth, CodeRange.OfBits(bits));
            var factors = Sample.Floats(random, depth);
            var product = hasFactors ? [.. transposed.Select((v, i) => v * factors[i % depth])] : transposed;
            var (codes, scales) = QuantizeRows(product, new(columns, depth, tile), bits);
            var x = new float[transposed.Length];
            for (var i = 0; i < x.Length; i++)
                x[i % depth * columns + i / depth] = transposed[i];
            var actual = new sbyte[x.Length];
            var actualScales = new float[scales.Length];
            fixed (float* px = x, pf = factors, ps = actualScales)
            fixed (sbyte* pa = actual)
                GradientPass.Columns(px, hasFactors ? pf : null, new(columns, depth, tile), CodeRange.OfBits(bits), pa, ps, 2);
            Assert.Equal(codes, actual);
            Assert.Equal(scales, actualScales);
        }
    }

    [Fact]
    public void GradientsThatAreNotFiniteMakeTheirOwnScalesAlone()
    {
        const int Rows = 20, Columns = 24;
        var x = Sample.Floats(new Random(6), Rows * Columns);
        x[2 * Columns + 5] = float.NaN;
        x[4 * Columns + 7] = float.NegativeInfinity;
        var codes = new sbyte[x.Length];
        var byRow = new float[Rows];
        var byColumn = new float[Columns];
        fixed (float* px = x, pr = byRow, pc = byColumn)
        fixed (sbyte* pq = codes)
        {
            GradientPass.Rows(px, null, new(Rows, Columns, Columns), CodeRange.Int8, pq, pr, 1);
            GradientPass.Columns(px, null, new(Columns, Rows, Rows), CodeRange.Int8, pq, pc, 1);
        }
        for (var i = 0; i < Rows; i++)
            Assert.Equal(i is 2 or 4, !float.IsFinite(byRow[i]));
        for (var i = 0; i < Columns; i++)
            Assert.Equal(i is 5 or 7, !float.IsFinite(byColumn[i]));
    }

    [Fact]
    public void AStepTakesItsMemoryFromTheStepBefore()
    {
        const int N = 250, K = 403, M = 9;
        var w = Sample.Floats(new Random(7), N * K);
        var g = Sample.Floats(new Random(8), M * N);
        var codes = new sbyte[M * N];
        var scales = new float[N];
        fixed (float* pw = w, pg = g, ps = scales)
        fixed (sbyte* pc = codes)
        {
            byte* first = null;
            for (var step = 0; step < 3; step++)
            {
                using var weight = PackedWeight.Quantize(pw, N, K, K, 8, 2);
                if (step == 0)
                    first = weight.Codes(0);
                Assert.Equal((nint)first, (nint)weight.Codes(0));
                WeightQuantizer.Run(weight, pw, CodeRange.Int8, 2);
                GradientPass.Rows(pg, null, new(M, N, N), CodeRange.Int8, pc, ps, 2);
                var before = GC.GetAllocatedBytesForCurrentThread();
                WeightQuantizer.Run(weight, pw, CodeRange.Int8, 2);
                GradientPass.Rows(pg, null, new(M, N, N), CodeRange.Int8, pc, ps, 2);
                Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
            }
        }
    }

    [Fact]
    public void ThePoolGivesExactSizesAndKeepsALimitedAmount()
    {
        var pool = new MemoryPool();
        var memory = pool.Rent(1 << 20);
        pool.Return(memory);
        using (var other = pool.Rent((1 << 20) + 64))
            Assert.NotSame(memory, other);
        Assert.Same(memory, pool.Rent(1 << 20));
        var many = Enumerable.Range(0, 5).Select(_ => pool.Rent(20 << 20)).ToArray();
        foreach (var one in many)
            pool.Return(one);
        Assert.Equal(60 << 20, pool.IdleBytes);
        Assert.Equal([true, true, false, false, false], many.Select(m => m.IsClosed));
        pool.Return(memory);
    }

    [Fact]
    public void AWeightThatIsDisposedTwiceGoesBackOnce()
    {
        var x = new float[123 * 45];
        fixed (float* px = x)
        {
            var weight = PackedWeight.Quantize(px, 123, 45, 45, 8, 1);
            weight.Dispose();
            weight.Dispose();
            using var first = PackedWeight.Quantize(px, 123, 45, 45, 8, 1);
            using var second = PackedWeight.Quantize(px, 123, 45, 45, 8, 1);
            Assert.NotEqual((nint)first.Codes(0), (nint)second.Codes(0));
        }
    }

    /// <summary>Values of which some lie on ties and whose largest is half a step above the last code.</summary>
    private static float[] Values(Random random, int rows, int depth, CodeRange range)
    {
        var x = Sample.Floats(random, rows * depth, 3);
        for (var i = 0; i < x.Length; i += 5)
            x[i] = (random.Next(range.Lowest, range.Highest + 1) + 0.5f) / 4;
        return x;
    }

    private static sbyte[] Codes(Random random, int count) => [.. Enumerable.Range(0, count).Select(_ => (sbyte)random.Next(-128, 128))];

    /// <summary>Plain scalar arithmetic.</summary>
    private static (sbyte[] Codes, float[] Scales) QuantizeRows(float[] x, RowShape shape, int bits)
    {
        var range = CodeRange.OfBits(bits);
        var codes = new sbyte[x.Length];
        var scales = new float[shape.Rows * shape.Tiles];
        for (var row = 0; row < shape.Rows; row++)
            for (var tile = 0; tile < shape.Tiles; tile++)
            {
                var from = (int)(row * shape.Columns + tile * shape.TileSize);
                var values = x[from..(from + (int)shape.Length(tile))];
                var scale = values.Max(MathF.Abs) / range.Bound;
                scales[row * shape.Tiles + tile] = scale = scale < MathF.Sqrt(1.17549435e-38f) ? 1 : scale;
                for (var i = 0; i < values.Length; i++)
                    codes[from + i] = (sbyte)Math.Clamp(MathF.Round(values[i] / scale, MidpointRounding.ToEven), range.Lowest, range.Highest);
            }
        return (codes, scales);
    }
}
