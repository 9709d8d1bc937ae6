using QwixSharp.Kernels;

namespace QwixSharp.Tests.Kernels;

public unsafe class FloatConversionTests
{
    [Fact]
    public void EveryNumberOfTwoBytesIsWidenedExactly()
    {
        ushort[] all = [.. Enumerable.Range(0, 1 << 16).Select(i => (ushort)i)];
        foreach (var format in new[] { FloatFormat.Float16, FloatFormat.BFloat16 })
            foreach (var count in new[] { all.Length, 5 })
            {
                var wide = new float[count];
                fixed (ushort* from = all)
                fixed (float* to = wide)
                    FloatConversion.Widen(from, format, count, to);
                for (var i = 0; i < count; i++)
                    AssertSame(format == FloatFormat.Float16 ? (float)BitConverter.UInt16BitsToHalf(all[i]) : BitConverter.UInt32BitsToSingle((uint)i << 16), wide[i]);
            }
    }

    [Fact]
    public void NumbersAreRoundedToTheNearestEven()
    {
        var random = new Random(1);
        var values = new float[1 << 20];
        for (var i = 0; i < values.Length; i++)
            values[i] = i < 1 << 18 ? Near(random) : BitConverter.Int32BitsToSingle(random.Next(int.MinValue, int.MaxValue));
        float[] special = [0, -0f, float.NaN, float.PositiveInfinity, float.NegativeInfinity, float.Epsilon, float.MaxValue, 65504, 65519.996f, 65520, 5.9604645e-8f, 2.9802322e-8f, 2.9802326e-8f, 6.1035156e-5f];
        special.CopyTo(values, 0);
        foreach (var format in new[] { FloatFormat.Float16, FloatFormat.BFloat16 })
        {
            var narrow = new ushort[values.Length];
            fixed (float* from = values)
            fixed (ushort* to = narrow)
                FloatConversion.Narrow(from, format, values.Length, to);
            for (var i = 0; i < values.Length; i++)
            {
                var expected = format == FloatFormat.Float16 ? (float)(Half)values[i] : BFloat16(values[i]);
                AssertSame(expected, format == FloatFormat.Float16 ? (float)BitConverter.UInt16BitsToHalf(narrow[i]) : BitConverter.UInt32BitsToSingle((uint)narrow[i] << 16));
            }
        }
    }

    /// <summary>A number of half precision, or what lies halfway to the next.</summary>
    private static float Near(Random random)
    {
        var value = (float)BitConverter.UInt16BitsToHalf((ushort)random.Next(1 << 16));
        return random.Next(2) == 0 ? value : BitConverter.Int32BitsToSingle(BitConverter.SingleToInt32Bits(value) + 0x1000);
    }

    private static float BFloat16(float x)
    {
        if (!float.IsFinite(x))
            return x;
        var low = BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(x) & 0xFFFF0000);
        var high = BitConverter.UInt32BitsToSingle((BitConverter.SingleToUInt32Bits(x) & 0xFFFF0000) + 0x10000);
        double below = Math.Abs((double)x - low), above = Math.Abs((float.IsInfinity(high) ? Math.CopySign(Math.ScaleB(1, 128), x) : high) - (double)x);
        return below < above || below == above && (BitConverter.SingleToUInt32Bits(low) >> 16 & 1) == 0 ? low : high;
    }

    private static void AssertSame(float expected, float actual)
    {
        if (float.IsNaN(expected))
            Assert.True(float.IsNaN(actual));
        else
            Assert.Equal(BitConverter.SingleToInt32Bits(expected), BitConverter.SingleToInt32Bits(actual));
    }
}
