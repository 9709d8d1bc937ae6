using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using QwixSharp.Kernels.Attention;

namespace QwixSharp.Kernels;

/// <summary>eˣ of float32, to two units in the last place.</summary>
internal static class Exponential
{
    /// <summary>Below this the result is less than the smallest normal number; it is 0 here.</summary>
    private const float Least = -87.33654f;

    /// <summary>Of x ≤ 0: 2ⁿ · e^(x − n ln 2). NaN stays NaN.</summary>
    /// <param name="x">x.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> OfNegative(Vector256<float> x)
    {
        var n = Vector256.Round(x * 1.44269504f);
        var power = Vector256.ShiftLeft(Vector256.ConvertToInt32Native(n) + Vector256.Create(127), 23).AsSingle();
        return Vector256.ConditionalSelect(Vector256.LessThan(x, Vector256.Create(Least)), Vector256<float>.Zero, OfRest<FloatVectors256, Vector256<float>>(x, n) * power);
    }

    /// <summary>The same of sixteen numbers, bit for bit.</summary>
    /// <param name="x">x.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> OfNegative(Vector512<float> x)
    {
        var n = Vector512.Round(x * 1.44269504f);
        var power = Vector512.ShiftLeft(Vector512.ConvertToInt32Native(n) + Vector512.Create(127), 23).AsSingle();
        return Vector512.ConditionalSelect(Vector512.LessThan(x, Vector512.Create(Least)), Vector512<float>.Zero, OfRest<FloatVectors512, Vector512<float>>(x, n) * power);
    }

    /// <summary>e^(x − n ln 2) by the exponential's series to the seventh power.</summary>
    /// <param name="x">x.</param>
    /// <param name="n">The whole number nearest to x ÷ ln 2.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static TVector OfRest<TVectors, TVector>(TVector x, TVector n)
        where TVectors : struct, IFloatVectors<TVector>
        where TVector : unmanaged
    {
        // ln 2 in two parts, of which the first times n is exact.
        var r = TVectors.MultiplyAdd(n, TVectors.Broadcast(-0.693359375f), x);
        r = TVectors.MultiplyAdd(n, TVectors.Broadcast(2.12194440e-4f), r);
        var p = TVectors.Broadcast(1f / 5040);
        p = TVectors.MultiplyAdd(p, r, TVectors.Broadcast(1f / 720));
        p = TVectors.MultiplyAdd(p, r, TVectors.Broadcast(1f / 120));
        p = TVectors.MultiplyAdd(p, r, TVectors.Broadcast(1f / 24));
        p = TVectors.MultiplyAdd(p, r, TVectors.Broadcast(1f / 6));
        p = TVectors.MultiplyAdd(p, r, TVectors.Broadcast(0.5f));
        p = TVectors.MultiplyAdd(p, r, TVectors.Broadcast(1));
        return TVectors.MultiplyAdd(p, r, TVectors.Broadcast(1));
    }
}
