using QwixSharp.Kernels;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Tests.Kernels;

public unsafe class PackedWeightTests
{
    [Fact]
    public void EveryCodeAndScaleComesBack()
    {
        var random = new Random(1);
        foreach (var (n, k, tile) in new[] { (1, 1, 1), (17, 37, 37), (33, 96, 32), (16, 50, 20), (3, 64, 7) })
            foreach (var bits in new[] { 1, 3, 4, 6, 8 })
            {
                using var weight = Sample.Integers(random, n, k, tile, bits);
                var codes = new sbyte[n * k];
                var scales = new float[weight.Scales.Length];
                fixed (sbyte* c = codes)
                fixed (float* s = scales)
                {
                    weight.Packed.CopyCodes((byte*)c, 2);
                    weight.Packed.CopyScales(s);
                }
                Assert.Equal(weight.Codes, codes);
                Assert.Equal(weight.Scales, scales);
                Assert.Equal(bits <= 4 ? CodeFormat.Int4 : CodeFormat.Int8, weight.Packed.Format);
                for (var row = 0; row < n; row++)
                    for (var i = 0; i < k; i++)
                    {
                        Assert.Equal(weight.Codes[row * k + i], weight.Packed.Code(row, i));
                        Assert.Equal(weight.Codes[row * k + i], weight.Packed.Value(row, i));
                        Assert.Equal(weight.Scale(row, i), weight.Packed.Scale(row, i));
                    }
            }
    }

    [Fact]
    public void ARowIsDequantizedAlone()
    {
        var random = new Random(3);
        foreach (var (n, k, tile) in new[] { (1, 1, 1), (17, 37, 37), (33, 96, 32), (16, 50, 20), (3, 64, 7) })
        {
            foreach (var bits in new[] { 4, 8 })
            {
                using var weight = Sample.Integers(random, n, k, tile, bits);
                AssertRows(weight.Packed);
            }
            using var floats = Sample.Bytes(random, n, k, tile, Sample.E4M3);
            AssertRows(floats.Packed);
        }

        static void AssertRows(PackedWeight weight)
        {
            var values = new float[weight.Depth];
            for (var row = 0; row < weight.Rows; row++)
            {
                fixed (float* y = values)
                    weight.DequantizeRow(row, y);
                Assert.Equal(Enumerable.Range(0, weight.Depth).Select(i => weight.Value(row, i) * weight.Scale(row, i)), values);
            }
        }
    }

    [Fact]
    public void PairsOfHalfBytesNeedNoExpansion()
    {
        // int4 in two's complement, low half first: 1, -1, 7, -8, 0, 3.
        byte[] pairs = [0xF1, 0x87, 0x30];
        float[] scales = [0.5f];
        fixed (byte* p = pairs)
        fixed (float* s = scales)
        {
            using var integers = PackedWeight.FromInt4Pairs(p, s, 1, 6, 6);
            Assert.Equal([1, -1, 7, -8, 0, 3], Enumerable.Range(0, 6).Select(k => integers.Code(0, k)));
            using var book = PackedWeight.FromCodebook(p, paired: true, Sample.Nf4, s, 1, 6, 6);
            Assert.Equal([1, 15, 7, 8, 0, 3], Enumerable.Range(0, 6).Select(k => book.Code(0, k)));
            Assert.Equal(Sample.Nf4[15], book.Value(0, 1));
        }
    }

    [Fact]
    public void Fp8TypesAreRecognizedAndOtherTablesAreNot()
    {
        var random = new Random(2);
        using var e4m3 = Sample.Bytes(random, 20, 40, 40, Sample.E4M3);
        using var e5m2 = Sample.Bytes(random, 20, 40, 40, Sample.E5M2);
        using var other = Sample.Bytes(random, 20, 40, 40, [.. Enumerable.Range(0, 256).Select(i => i / 3f)]);
        Assert.Equal((4, 3, 0), (e4m3.Packed.Fp8Shift, e5m2.Packed.Fp8Shift, other.Packed.Fp8Shift));
    }

    [Fact]
    public void MemoryIsHalfForHalfBytes()
    {
        var random = new Random(3);
        using var bytes = Sample.Integers(random, 64, 1024, 1024, 8);
        using var halves = Sample.Integers(random, 64, 1024, 1024, 4);
        Assert.Equal(64 * 1024 + 64 * 4, bytes.Packed.Bytes);
        Assert.Equal(64 * 512 + 64 * 4 + 64, halves.Packed.Bytes);
    }

    [Fact]
    public void BadArgumentsAreNamed()
    {
        Assert.Equal("bits", Error(9, 4, 4).ParamName);
        Assert.Equal("tileSize", Error(8, 4, 0).ParamName);
        Assert.Contains("65536", Error(8, 200_000, 70_000).Message);
        Assert.Contains("16", Assert.Throws<ArgumentException>(() => PackedWeight.FromCodebook(null, false, new float[8], null, 1, 1, 1)).Message);
        Assert.Contains("256", Assert.Throws<ArgumentException>(() => PackedWeight.FromTable(null, new float[16], null, 1, 1, 1)).Message);
        Assert.Contains("even", Assert.Throws<ArgumentException>(() => PackedWeight.FromInt4Pairs(null, null, 1, 3, 3)).Message);

        ArgumentException Error(int bits, long depth, long tile)
        {
            try
            {
                PackedWeight.FromIntegers(null, null, 0, depth, tile, bits).Dispose();
            }
            catch (ArgumentException e)
            {
                return e;
            }
            throw new InvalidOperationException("No error came.");
        }
    }

    [Fact]
    public void ThreadsPackTheSame()
    {
        var random = new Random(4);
        var codes = new sbyte[100 * 64];
        for (var i = 0; i < codes.Length; i++)
            codes[i] = (sbyte)random.Next(-128, 128);
        var scales = Sample.Floats(random, 100);
        fixed (sbyte* c = codes)
        fixed (float* s = scales)
        {
            using var weight = PackedWeight.FromIntegers(c, s, 100, 64, 64, 8, threads: 3);
            for (var i = 0; i < codes.Length; i++)
                Assert.Equal(codes[i], weight.Code(i / 64, i % 64));
        }
    }

    [Fact]
    public void SteadyStateProductsAllocateNothing()
    {
        var random = new Random(5);
        using var weight = Sample.Integers(random, 64, 128, 32, 4);
        using var table = Sample.Codebook(random, 64, 128, 32, Sample.Nf4);
        var x = Sample.Floats(random, 10 * 128);
        var y = new float[10 * 64];
        fixed (float* px = x, py = y)
        {
            for (var i = 0; i < 3; i++)
                All(px, py);
            var before = GC.GetAllocatedBytesForCurrentThread();
            for (var i = 0; i < 10; i++)
                All(px, py);
            Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        void All(float* px, float* py)
        {
            MatMul.Dynamic(px, 128, 10, weight.Packed, new((nint)py, 64), 2);
            MatMul.WeightOnly(px, 128, 10, weight.Packed, new((nint)py, 64), 2);
            MatMul.WeightOnly(px, 128, 10, table.Packed, new((nint)py, 64), 2);
        }
    }

    [Fact]
    public void TheChoiceOfKernelsCanBePrinted()
    {
        using var weight = Sample.Integers(new Random(1), 4, 8, 8, 4);
        var text = KernelSelector.Default.Describe(weight.Packed, 1);
        Assert.Contains("Int4 [4, 8] tile 8, M=1", text);
        Assert.Contains($"quantized activations -> {KernelSelector.Default.Integer(weight.Packed, 1).Name}", text);
    }
}
