using QwixSharp.Kernels;

namespace QwixSharp.Tests.Kernels;

/// <summary>Products of bfloat16 and float16 activations: those of the same numbers in float32, rounded once.</summary>
public unsafe class NarrowProductTests
{
    public static TheoryData<string, string> FormatsAndWeights()
    {
        var data = new TheoryData<string, string>();
        foreach (var format in new[] { nameof(FloatFormat.BFloat16), nameof(FloatFormat.Float16) })
            foreach (var weight in new[] { "int8", "int4", "nf4", "fp8" })
                data.Add(format, weight);
        return data;
    }

    [Theory]
    [MemberData(nameof(FormatsAndWeights))]
    public void EqualThoseOfFloat32RoundedOnce(string format, string weight)
    {
        var random = new Random(1);
        foreach (var (m, n, k, tile) in new[] { (1, 16, 64, 64), (1, 33, 100, 100), (3, 20, 96, 32), (8, 48, 40, 40), (25, 50, 130, 130), (40, 17, 256, 64), (2, 5, 1, 1) })
            Check(random, Enum.Parse<FloatFormat>(format), weight, m, n, k, tile);
    }

    [Fact]
    public void StridesBiasAndColumnsBesideEachOtherAreKept()
    {
        var random = new Random(2);
        using var weight = Sample.Integers(random, 21, 40, 40, 8);
        var x = new ushort[3 * 50];
        var wide = new float[3 * 50];
        var bias = Sample.Floats(random, 21, 100);
        float[] expected = new float[21 * 4];
        ushort[] y = new ushort[21 * 4];
        Fill(random, FloatFormat.BFloat16, x, wide);
        fixed (ushort* px = x, py = y)
        fixed (float* pw = wide, pe = expected, b = bias)
        {
            MatMul.Dynamic(pw, 50, 3, weight.Packed, new((nint)pe, 1, (nint)b, FusedActivation.Relu, ColumnStride: 4), 1);
            MatMul.Dynamic(new FloatInput((nint)px, 50, 3, FloatFormat.BFloat16), weight.Packed, new((nint)py, 1, (nint)b, FusedActivation.Relu, ColumnStride: 4, Format: FloatFormat.BFloat16), 1);
            AssertRounded(FloatFormat.BFloat16, expected, y);
        }
    }

    [Fact]
    public void ABadActivationSpoilsItsRowAlone()
    {
        var random = new Random(3);
        using var weight = Sample.Integers(random, 20, 40, 40, 8);
        var x = new ushort[3 * 40];
        Fill(random, FloatFormat.Float16, x, new float[x.Length]);
        x[47] = BitConverter.HalfToUInt16Bits(Half.NaN);
        var y = new ushort[3 * 20];
        fixed (ushort* px = x, py = y)
        {
            MatMul.WeightOnly(new FloatInput((nint)px, 40, 3, FloatFormat.Float16), weight.Packed, new((nint)py, 20, Format: FloatFormat.Float16), 1);
            for (var i = 0; i < y.Length; i++)
                Assert.Equal(i / 20 == 1, Half.IsNaN(BitConverter.UInt16BitsToHalf(y[i])));
        }
    }

    private static void Check(Random random, FloatFormat format, string kind, int m, int n, int k, int tile)
    {
        using var weight = kind switch
        {
            "int8" => Sample.Integers(random, n, k, tile, 8),
            "int4" => Sample.Integers(random, n, k, tile, 4),
            "nf4" => Sample.Codebook(random, n, k, tile, Sample.Nf4),
            _ => Sample.Bytes(random, n, k, tile, Sample.E4M3),
        };
        var x = new ushort[m * k];
        var wide = new float[m * k];
        Fill(random, format, x, wide);
        float[] expected = new float[m * n];
        ushort[] y = new ushort[m * n];
        fixed (ushort* px = x, py = y)
        fixed (float* pw = wide, pe = expected)
        {
            var input = new FloatInput((nint)px, k, m, format);
            foreach (var threads in new[] { 1, 2 })
            {
                MatMul.WeightOnly(pw, k, m, weight.Packed, new((nint)pe, n), threads);
                MatMul.WeightOnly(input, weight.Packed, new((nint)py, n, Format: format), threads);
                AssertRounded(format, expected, y);
                if (!weight.Packed.IsInteger)
                    continue;
                MatMul.Dynamic(pw, k, m, weight.Packed, new((nint)pe, n), threads);
                MatMul.Dynamic(input, weight.Packed, new((nint)py, n, Format: format), threads);
                AssertRounded(format, expected, y);
            }
        }
    }

    private static void Fill(Random random, FloatFormat format, ushort[] x, float[] wide)
    {
        for (var i = 0; i < x.Length; i++)
        {
            var value = (float)(random.NextDouble() - 0.5);
            x[i] = format == FloatFormat.Float16 ? BitConverter.HalfToUInt16Bits((Half)value) : (ushort)(BitConverter.SingleToUInt32Bits(value) >> 16);
            wide[i] = format == FloatFormat.Float16 ? (float)BitConverter.UInt16BitsToHalf(x[i]) : BitConverter.UInt32BitsToSingle((uint)x[i] << 16);
        }
    }

    private static void AssertRounded(FloatFormat format, float[] expected, ushort[] actual)
    {
        for (var i = 0; i < expected.Length; i++)
        {
            var bits = BitConverter.SingleToUInt32Bits(expected[i]);
            var rounded = format == FloatFormat.Float16
                ? BitConverter.HalfToUInt16Bits((Half)expected[i])
                : (ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
            Assert.Equal(rounded, actual[i]);
        }
    }
}
