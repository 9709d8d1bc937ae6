using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace QwixSharp.Kernels.Passes;

/// <summary>
/// A bit an element, that of element i in byte i ÷ 8, the first in the lowest bit: whether it lies inside the bounds of its
/// tile, so that its gradient passes. A backward pass that reads bits reads a thirty-second of the forward's input.
/// </summary>
internal static unsafe class BitMaskPass
{
    /// <summary>In elements: two pages ahead, since the processor itself does not look beyond a page.</summary>
    private const int PrefetchDistance = 2048;

    /// <summary>The bytes of the bits.</summary>
    /// <param name="count">How many elements.</param>
    public static long Bytes(long count) => (count + 7) / 8;

    /// <summary>bit = low ≤ x ≤ high. A NaN in x, or in a bound, gives 0.</summary>
    /// <param name="x">[rows, columns].</param>
    /// <param name="shape">The sizes.</param>
    /// <param name="low">[rows, tiles].</param>
    /// <param name="high">[rows, tiles].</param>
    /// <param name="bits">The result, <see cref="Bytes"/> long; what the last byte does not need is 0.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void Mark(float* x, RowShape shape, float* low, float* high, byte* bits, int threads)
    {
        shape.Check();
        RowsJob.RunInParts(shape, threads, (from, length, tile) => Mark(x, from, length, low[tile], high[tile], bits));
    }

    /// <summary>y = gradient where the bit is 1, else 0.</summary>
    /// <param name="gradient">[count].</param>
    /// <param name="bits">A bit an element.</param>
    /// <param name="count">How many elements.</param>
    /// <param name="y">[count], the result; may be <paramref name="gradient"/>.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void Apply(float* gradient, byte* bits, long count, float* y, int threads) =>
        RowsJob.RunInParts(new RowShape(1, count, Math.Max(count, 1)), threads, (from, length, _) =>
            ApplyPart(gradient + from, bits + from / 8, length, y + from, Streaming.Pays(count, gradient, y, from)));

    /// <summary>
    /// The bits of some elements of an array. Those of a byte that elements before have begun are kept, so that one thread marks
    /// all that share a byte, from the first on.
    /// </summary>
    /// <param name="x">The array.</param>
    /// <param name="from">The first element.</param>
    /// <param name="count">How many.</param>
    /// <param name="low">Their lower bound.</param>
    /// <param name="high">Their upper bound.</param>
    /// <param name="bits">The bits of the array.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Mark(float* x, long from, long count, float low, float high, byte* bits)
    {
        long i = from, end = from + count;
        for (; i < end && (i & 7) != 0; i++)
            MarkOne(x, i, low, high, bits);
        if (Vector512.IsHardwareAccelerated)
        {
            var least = Vector512.Create(low);
            var most = Vector512.Create(high);
            for (; i + 16 <= end; i += 16)
                *(ushort*)(bits + (i >> 3)) = Inside(Vector512.Load(x + i), least, most);
        }
        var l = Vector256.Create(low);
        var h = Vector256.Create(high);
        for (; i + 8 <= end; i += 8)
            bits[i >> 3] = Inside(Vector256.Load(x + i), l, h);
        for (; i < end; i++)
            MarkOne(x, i, low, high, bits);
    }

    /// <summary>The bits of sixteen values.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ushort Inside(Vector512<float> v, Vector512<float> low, Vector512<float> high) =>
        (ushort)(Vector512.GreaterThanOrEqual(v, low) & Vector512.LessThanOrEqual(v, high)).ExtractMostSignificantBits();

    /// <summary>The bits of eight values.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static byte Inside(Vector256<float> v, Vector256<float> low, Vector256<float> high) =>
        (byte)(Vector256.GreaterThanOrEqual(v, low) & Vector256.LessThanOrEqual(v, high)).ExtractMostSignificantBits();

    private static void MarkOne(float* x, long i, float low, float high, byte* bits)
    {
        var before = (i & 7) == 0 ? 0 : bits[i >> 3];
        bits[i >> 3] = (byte)(x[i] >= low && x[i] <= high ? before | 1 << (int)(i & 7) : before);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ApplyPart(float* gradient, byte* bits, long count, float* y, bool streams)
    {
        var i = 0L;
        if (Vector512.IsHardwareAccelerated)
        {
            var lanes = Vector512.Create(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768);
            for (; i + 16 <= count; i += 16)
            {
                if (Sse.IsSupported)
                    Sse.Prefetch0(gradient + i + PrefetchDistance);
                var own = Vector512.Create((int)*(ushort*)(bits + (i >> 3))) & lanes;
                var v = Vector512.ConditionalSelect(Vector512.Equals(own, Vector512<int>.Zero).AsSingle(), Vector512<float>.Zero, Vector512.Load(gradient + i));
                Streaming.Store(v, y + i, streams);
            }
        }
        var bytes = Vector256.Create(1, 2, 4, 8, 16, 32, 64, 128);
        for (; i + 8 <= count; i += 8)
        {
            if (Sse.IsSupported)
                Sse.Prefetch0(gradient + i + PrefetchDistance);
            var passes = Vector256.Equals(Vector256.Create((int)bits[i >> 3]) & bytes, bytes).AsSingle();
            Streaming.Store(passes & Vector256.Load(gradient + i), y + i, streams);
        }
        for (; i < count; i++)
            y[i] = (bits[i >> 3] >> (int)(i & 7) & 1) != 0 ? gradient[i] : 0;
    }
}
