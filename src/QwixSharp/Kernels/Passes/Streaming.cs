using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace QwixSharp.Kernels.Passes;

/// <summary>Stores around the caches, for results that nobody reads while they are there.</summary>
internal static unsafe class Streaming
{
    /// <summary>A result of more bytes leaves the caches before anybody reads it.</summary>
    private const long MostCachedBytes = 32L << 20;

    /// <summary>Whether a result is written around the caches: where it is large, apart from what is read, and aligned.</summary>
    /// <param name="count">The elements of the whole result.</param>
    /// <param name="x">What is read.</param>
    /// <param name="y">Where the result begins.</param>
    /// <param name="from">The first element that is written.</param>
    public static bool Pays(long count, float* x, float* y, long from) =>
        count * sizeof(float) > MostCachedBytes && x != y && ((nint)(y + from) & 63) == 0;

    /// <summary>Stores a vector.</summary>
    /// <param name="v">The vector.</param>
    /// <param name="y">Where to; aligned if <paramref name="streams"/>.</param>
    /// <param name="streams">Whether around the caches.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vector512<float> v, float* y, bool streams)
    {
        if (streams)
            v.StoreAlignedNonTemporal(y);
        else
            v.Store(y);
    }

    /// <inheritdoc cref="Store(Vector512{float}, float*, bool)"/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Vector256<float> v, float* y, bool streams)
    {
        if (streams)
            v.StoreAlignedNonTemporal(y);
        else
            v.Store(y);
    }
}
