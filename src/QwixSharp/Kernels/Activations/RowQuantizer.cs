using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace QwixSharp.Kernels.Activations;

/// <summary>The range of a signed integer type and how a largest magnitude becomes a scale.</summary>
/// <param name="Lowest">The smallest code, −2^(bits−1).</param>
/// <param name="Highest">The largest code, 2^(bits−1) − 1.</param>
internal readonly record struct CodeRange(int Lowest, int Highest)
{
    /// <summary>−128 … 127.</summary>
    public static CodeRange Int8 { get; } = new(-128, 127);

    /// <summary>The range of a type of this many bits, 1 … 8.</summary>
    /// <param name="bits">The bits.</param>
    public static CodeRange OfBits(int bits) => new(-(1 << (bits - 1)), (1 << (bits - 1)) - 1);

    /// <summary>The magnitude that the scale maps to 1: <see cref="Highest"/> + 0.5 (127.5 for int8).</summary>
    public float Bound => Highest + 0.5f;
}

/// <summary>Symmetric absmax quantization of a row, bit for bit as Qwix on JAX does it in float32.</summary>
internal static unsafe class RowQuantizer
{
    /// <summary>Scales below √(smallest normal float) become 1.</summary>
    private static readonly float SmallestScale = MathF.Sqrt(1.17549435e-38f);

    /// <summary>scale = absmax ÷ bound; a tiny one becomes 1, and one that is not finite NaN.</summary>
    /// <param name="absMax">The largest magnitude.</param>
    /// <param name="range">The codes' range.</param>
    public static float Scale(float absMax, CodeRange range) => Scale(absMax, range.Bound);

    /// <summary>scale = absmax ÷ bound; a tiny one becomes 1, and one that is not finite NaN.</summary>
    /// <param name="absMax">The largest magnitude.</param>
    /// <param name="bound">The magnitude that the scale maps to 1.</param>
    public static float Scale(float absMax, float bound) => Usable(absMax / bound);

    /// <summary>
    /// An infinite scale would leave the sign of a result to codes, which do not have it: infinity ÷ infinity is no number. Softmax
    /// and ReLU make 0 of the wrong one, so that a finite number would come of it; of NaN none does.
    /// </summary>
    /// <param name="scale">The scale as it was computed.</param>
    public static float Usable(float scale) => scale < SmallestScale ? 1 : scale < float.PositiveInfinity ? scale : float.NaN;

    /// <summary>The largest magnitude; NaN if any value is NaN.</summary>
    /// <param name="x">The values.</param>
    /// <param name="count">How many.</param>
    /// <remarks>Compares magnitudes as integers: the order is the same, and every NaN lies above infinity.</remarks>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static float AbsMax(float* x, long count)
    {
        var i = 0L;
        var largest = 0;
        // Four vectors at once: with two, each waits for its own last step.
        if (Vector512.IsHardwareAccelerated)
        {
            var mask = Vector512.Create(int.MaxValue);
            var (a, b, c, d) = (Vector512<int>.Zero, Vector512<int>.Zero, Vector512<int>.Zero, Vector512<int>.Zero);
            for (; i + 64 <= count; i += 64)
            {
                a = Vector512.Max(a, Vector512.Load((int*)x + i) & mask);
                b = Vector512.Max(b, Vector512.Load((int*)x + i + 16) & mask);
                c = Vector512.Max(c, Vector512.Load((int*)x + i + 32) & mask);
                d = Vector512.Max(d, Vector512.Load((int*)x + i + 48) & mask);
            }
            for (; i + 16 <= count; i += 16)
                a = Vector512.Max(a, Vector512.Load((int*)x + i) & mask);
            a = Vector512.Max(Vector512.Max(a, b), Vector512.Max(c, d));
            largest = Largest(Vector256.Max(a.GetLower(), a.GetUpper()));
        }
        else
        {
            var mask = Vector256.Create(int.MaxValue);
            var (a, b, c, d) = (Vector256<int>.Zero, Vector256<int>.Zero, Vector256<int>.Zero, Vector256<int>.Zero);
            for (; i + 32 <= count; i += 32)
            {
                a = Vector256.Max(a, Vector256.Load((int*)x + i) & mask);
                b = Vector256.Max(b, Vector256.Load((int*)x + i + 8) & mask);
                c = Vector256.Max(c, Vector256.Load((int*)x + i + 16) & mask);
                d = Vector256.Max(d, Vector256.Load((int*)x + i + 24) & mask);
            }
            for (; i + 8 <= count; i += 8)
                a = Vector256.Max(a, Vector256.Load((int*)x + i) & mask);
            largest = Largest(Vector256.Max(Vector256.Max(a, b), Vector256.Max(c, d)));
        }
        for (; i < count; i++)
            largest = Math.Max(largest, ((int*)x)[i] & int.MaxValue);
        return BitConverter.Int32BitsToSingle(largest);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Largest(Vector256<int> v)
    {
        var four = Vector128.Max(v.GetLower(), v.GetUpper());
        four = Vector128.Max(four, Vector128.Shuffle(four, Vector128.Create(2, 3, 0, 1)));
        return Math.Max(four.GetElement(0), four.GetElement(1));
    }

    /// <summary>
    /// The asymmetric scale (max − min) ÷ (highest − lowest code), a tiny one 1 and one that is not finite NaN, and the code of 0,
    /// saturated. The range must include 0.
    /// </summary>
    /// <param name="min">The smallest value.</param>
    /// <param name="max">The largest value.</param>
    /// <param name="range">The codes' range.</param>
    public static (float Scale, int ZeroPoint) ScaleAndZeroPoint(float min, float max, CodeRange range)
    {
        float scale = Usable((max - min) / (range.Highest - range.Lowest)), lowest = range.Lowest, highest = range.Highest;
        var zero = MathF.Round(lowest - min / scale, MidpointRounding.ToEven);
        return (scale, (int)MathF.Min(MathF.Max(zero, lowest), highest));
    }

    /// <summary>The smallest and the largest of the values and 0; NaN both if any value is NaN.</summary>
    /// <param name="x">The values.</param>
    /// <param name="count">How many.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static (float Min, float Max) MinMax(float* x, long count)
    {
        var i = 0L;
        float min = 0, max = 0;
        var isNumber = true;
        if (Vector256.IsHardwareAccelerated && count >= 8)
        {
            var least = Vector256<float>.Zero;
            var most = Vector256<float>.Zero;
            var numbers = Vector256<float>.AllBitsSet;
            for (; i + 8 <= count; i += 8)
            {
                var v = Vector256.Load(x + i);
                least = Vector256.MinNative(least, v);
                most = Vector256.MaxNative(most, v);
                numbers &= Vector256.Equals(v, v);
            }
            isNumber = numbers.ExtractMostSignificantBits() == 0xFF;
            for (var lane = 0; lane < 8; lane++)
                (min, max) = (MathF.Min(min, least.GetElement(lane)), MathF.Max(max, most.GetElement(lane)));
        }
        for (; i < count; i++)
            (min, max) = (MathF.Min(min, x[i]), MathF.Max(max, x[i]));
        return isNumber ? (min, max) : (float.NaN, float.NaN);
    }

    /// <summary>code = round half to even of (x ÷ scale + zero point), saturated. NaN gives an unspecified code in range.</summary>
    /// <param name="x">The values.</param>
    /// <param name="count">How many.</param>
    /// <param name="scale">The scale; positive.</param>
    /// <param name="zeroPoint">The code of 0.</param>
    /// <param name="range">The codes' range.</param>
    /// <param name="codes">The result.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Quantize(float* x, long count, float scale, int zeroPoint, CodeRange range, sbyte* codes)
    {
        var i = 0L;
        float lowest = range.Lowest, highest = range.Highest;
        if (Avx512F.IsSupported)
        {
            var s = Vector512.Create(scale);
            var z = Vector512.Create((float)zeroPoint);
            var low = Vector512.Create(lowest);
            var high = Vector512.Create(highest);
            for (; i + 16 <= count; i += 16)
            {
                // The row behind comes next: dividing takes as long as fetching it.
                Sse.Prefetch0(x + i + count);
                var v = Avx512F.Divide(Vector512.Load(x + i), s) + z;
                v = Avx512F.Max(Avx512F.Min(v, high), low);
                Avx512F.ConvertToVector128SByteWithSaturation(Avx512F.ConvertToVector512Int32(v)).Store(codes + i);
            }
        }
        else if (Avx2.IsSupported)
        {
            var s = Vector256.Create(scale);
            var z = Vector256.Create((float)zeroPoint);
            var low = Vector256.Create(lowest);
            var high = Vector256.Create(highest);
            for (; i + 16 <= count; i += 16)
            {
                var v = Avx.Max(Avx.Min(Vector256.Load(x + i) / s + z, high), low);
                var w = Avx.Max(Avx.Min(Vector256.Load(x + i + 8) / s + z, high), low);
                var words = Avx2.PackSignedSaturate(Avx.ConvertToVector256Int32(v), Avx.ConvertToVector256Int32(w));
                words = Avx2.Permute4x64(words.AsInt64(), 0b11_01_10_00).AsInt16();
                Sse2.PackSignedSaturate(words.GetLower(), words.GetUpper()).Store(codes + i);
            }
        }
        for (; i < count; i++)
        {
            var rounded = MathF.Round(x[i] / scale + zeroPoint, MidpointRounding.ToEven);
            codes[i] = (sbyte)(int)MathF.Min(MathF.Max(rounded, lowest), highest);
        }
    }

    /// <summary>The sum of codes.</summary>
    /// <param name="codes">The codes.</param>
    /// <param name="count">How many; up to 16 million.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static int Sum(sbyte* codes, long count)
    {
        var i = 0L;
        var sum = 0;
        if (Avx2.IsSupported && count >= 32)
        {
            // psadbw sums unsigned bytes: shift every code up by 128 and take the shift out at the end.
            var sums = Vector256<long>.Zero;
            var flip = Vector256.Create((byte)0x80);
            for (; i + 32 <= count; i += 32)
                sums += Avx2.SumAbsoluteDifferences(Vector256.Load((byte*)codes + i) ^ flip, Vector256<byte>.Zero).AsInt64();
            sum = (int)(Vector256.Sum(sums) - 128 * i);
        }
        for (; i < count; i++)
            sum += codes[i];
        return sum;
    }
}
