using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Passes;

namespace QwixSharp.Tests.Kernels;

/// <summary>Fake-quant multiplies by a reciprocal, and gives what dividing gives.</summary>
public unsafe class ReciprocalRoundingTests
{
    private const int Ties = 128, Around = 7;

    /// <summary>
    /// Where a quotient lies as near to the middle of two floats as it can, next to a tie, the last bits of the scale's
    /// significand are ±1, ±3 or ±5.
    /// </summary>
    [Fact]
    public void NumbersAtTiesAreRoundedAsQuotients()
    {
        var random = new Random(1);
        var significands = Enumerable.Range(128, 128).SelectMany(k => new[] { -5, -3, -1, 0, 1, 3, 5 }.Select(m => (k << 16) + m))
            .Concat(Enumerable.Range(0, 1000).Select(_ => random.Next(1 << 23, 1 << 24)));
        var x = new float[2 * Ties * Around + 5];
        foreach (var significand in significands)
        {
            var scale = MathF.ScaleB(significand, random.Next(-80, 35));
            for (var i = 0; i < Ties * Around; i++)
            {
                x[i] = BitConverter.Int32BitsToSingle(BitConverter.SingleToInt32Bits((i / Around + 0.5f) * scale) + i % Around - Around / 2);
                x[Ties * Around + i] = -x[i];
            }
            Check(x, scale, CodeRange.Int8);
        }
    }

    [Theory]
    [InlineData(2)]
    [InlineData(4)]
    [InlineData(8)]
    public void AnyNumberAndAnyScaleAreRoundedAsQuotients(int bits)
    {
        var random = new Random(bits);
        var range = CodeRange.OfBits(bits);
        float[] special = [0, -0f, float.NaN, float.PositiveInfinity, float.NegativeInfinity, float.MaxValue, float.MinValue, float.Epsilon, 1.17549435e-38f];
        float[] scales =
        [
            .. Enumerable.Range(0, 2000).Select(_ => MathF.Abs(AnyFloat())), .. Enumerable.Range(-66, 132).Select(e => MathF.ScaleB(1, e)), .. special,
        ];
        var x = new float[300];
        foreach (var scale in scales)
        {
            for (var i = 0; i < x.Length; i++)
                x[i] = (i % 3) switch { 0 => AnyFloat(), 1 => (random.NextSingle() - 0.5f) * 300 * scale, _ => special[i / 3 % special.Length] };
            Check(x, scale, range);
        }

        float AnyFloat() => BitConverter.Int32BitsToSingle(random.Next(int.MinValue, int.MaxValue));
    }

    [Fact]
    public void BitsFollowTheBoundsOfAnyKind()
    {
        float[] bounds = [0, -0f, 1, -1, 0.3f, float.Epsilon, float.MaxValue, float.PositiveInfinity, float.NegativeInfinity, float.NaN];
        float[] x = [.. bounds, .. bounds.Select(b => -b), .. bounds.Select(MathF.BitIncrement), .. bounds.Select(MathF.BitDecrement), .. bounds];
        float[] y = new float[x.Length], scale = [0.01f];
        foreach (var low in bounds)
            foreach (var high in bounds.Append(-low))
            {
                float[] lows = [low], highs = [high];
                var bits = new byte[BitMaskPass.Bytes(x.Length)];
                fixed (float* px = x, py = y, ps = scale, pl = lows, ph = highs)
                fixed (byte* pb = bits)
                    FakeQuantPass.WithScales(px, new(1, x.Length, x.Length), ps, null, CodeRange.Int8, py, pl, ph, pb, 1);
                for (var i = 0; i < x.Length; i++)
                    Assert.Equal(x[i] >= low && x[i] <= high, (bits[i / 8] >> (i % 8) & 1) != 0);
            }
    }

    private static void Check(float[] x, float scale, CodeRange range)
    {
        float[] y = new float[x.Length], scales = [scale];
        fixed (float* px = x, py = y, ps = scales)
            FakeQuantPass.WithScales(px, new(1, x.Length, x.Length), ps, null, range, py, null, null, null, 1);
        for (var i = 0; i < x.Length; i++)
        {
            var code = MathF.Min(MathF.Max(MathF.Round(x[i] / scale, MidpointRounding.ToEven), range.Lowest), range.Highest);
            var expected = (code + 0f) * scale;
            if (float.IsNaN(expected) ? !float.IsNaN(y[i]) : BitConverter.SingleToInt32Bits(expected) != BitConverter.SingleToInt32Bits(y[i]))
                Assert.Fail($"{x[i]:r} by {scale:r} gives {y[i]:r}, not {expected:r}");
        }
    }
}
