using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using QwixSharp.Kernels.Activations;

namespace QwixSharp.Kernels.Passes;

/// <summary>
/// Rounds to codes and back without dividing each number, bit for bit as if it did: a division takes as long as three to five of
/// the multiplications that replace it.
/// </summary>
/// <remarks>
/// With r = 1 ÷ s rounded, q₀ = x · r lies within 1.5 ulp of the quotient, and q = q₀ + (x − q₀ · s) · r, two fused steps, within
/// half an ulp and a millionth. So the code differs from that of the rounded x ÷ s at most where x is one of the floats next to
/// s · (n + ½). There q is the rounded quotient itself: powers of two change nothing in the range of scales that is served, and of
/// all 2²³ significands of s, all ties up to 127.5 and seven floats around each, none differs (with q₀ alone one in 26 does).
/// Numbers are clipped a quarter of a code beyond the range first, which changes no code and keeps infinities out of q.
/// </remarks>
internal static unsafe class ReciprocalRounding
{
    /// <summary>Powers of two that keep every step from becoming subnormal where it matters, or infinite.</summary>
    private const float LeastScale = 1f / MostScale, MostScale = 1L << 62;

    /// <summary>Whether it gives the right codes.</summary>
    /// <param name="scale">The scale.</param>
    /// <param name="range">The codes' range.</param>
    public static bool Serves(float scale, CodeRange range) =>
        scale is >= LeastScale and <= MostScale && range is { Lowest: >= -128, Highest: <= 127 };

    /// <summary>y = code(x) · scale for as many as fill vectors.</summary>
    /// <param name="x">The numbers; those of the row behind are fetched.</param>
    /// <param name="count">How many.</param>
    /// <param name="scale">The scale.</param>
    /// <param name="range">The codes' range.</param>
    /// <param name="y">The result.</param>
    /// <param name="streams">Whether it is stored around the caches.</param>
    /// <param name="most">The largest magnitude that is inside; read where bits are wanted.</param>
    /// <param name="bits">Takes a bit a number, 1 where it is inside; or null.</param>
    /// <returns>How many were rounded.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static long Run(float* x, long count, float scale, CodeRange range, float* y, bool streams, float most, byte* bits)
    {
        var i = 0L;
        float reciprocal = 1 / scale, lowest = (range.Lowest - 0.25f) * scale, highest = (range.Highest + 0.25f) * scale;
        // Magnitudes are compared as integers: the order is the same, and every NaN lies above infinity.
        var outside = most >= 0 ? BitConverter.SingleToInt32Bits(MathF.Abs(most)) + 1 : 0;
        if (Avx512F.IsSupported)
        {
            var s = Vector512.Create(scale);
            var r = Vector512.Create(reciprocal);
            var low = Vector512.Create(lowest);
            var high = Vector512.Create(highest);
            for (; i + 16 <= count; i += 16)
            {
                Sse.Prefetch0(x + i + count);
                var v = Vector512.Load(x + i);
                if (bits != null)
                    *(ushort*)(bits + (i >> 3)) = (ushort)Vector512.LessThan(v.AsInt32() & Vector512.Create(int.MaxValue), Vector512.Create(outside)).ExtractMostSignificantBits();
                // The bounds come first: with a NaN the instructions return their second operand.
                v = Avx512F.Max(low, Avx512F.Min(high, v));
                var q = v * r;
                q = Avx512F.FusedMultiplyAdd(Avx512F.FusedMultiplyAddNegated(q, s, v), r, q);
                // Adding 0 makes the +0 of a code of −0.
                Streaming.Store(Avx512F.FusedMultiplyAdd(Avx512F.RoundScale(q, 0), s, Vector512<float>.Zero), y + i, streams);
            }
        }
        else if (Fma.IsSupported)
        {
            var s = Vector256.Create(scale);
            var r = Vector256.Create(reciprocal);
            var low = Vector256.Create(lowest);
            var high = Vector256.Create(highest);
            for (; i + 16 <= count; i += 16)
            {
                Sse.Prefetch0(x + i + count);
                var v = Vector256.Load(x + i);
                var w = Vector256.Load(x + i + 8);
                if (bits != null)
                    *(ushort*)(bits + (i >> 3)) = (ushort)(Inside(v, outside) | Inside(w, outside) << 8);
                Streaming.Store(Rounded(v, s, r, low, high), y + i, streams);
                Streaming.Store(Rounded(w, s, r, low, high), y + i + 8, streams);
            }
        }
        return i;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Rounded(Vector256<float> v, Vector256<float> scale, Vector256<float> reciprocal, Vector256<float> low, Vector256<float> high)
    {
        v = Avx.Max(low, Avx.Min(high, v));
        var q = v * reciprocal;
        q = Fma.MultiplyAdd(Fma.MultiplyAddNegated(q, scale, v), reciprocal, q);
        return Fma.MultiplyAdd(Avx.RoundToNearestInteger(q), scale, Vector256<float>.Zero);
    }

    /// <summary>The signs of differences: below what is outside they are negative.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Inside(Vector256<float> v, int outside) =>
        Avx.MoveMask(((v.AsInt32() & Vector256.Create(int.MaxValue)) - Vector256.Create(outside)).AsSingle());
}
