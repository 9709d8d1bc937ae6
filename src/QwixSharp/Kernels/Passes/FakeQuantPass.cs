using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using QwixSharp.Kernels.Activations;

namespace QwixSharp.Kernels.Passes;

/// <summary>Quantize and dequantize at once, for training, without codes in memory.</summary>
internal static unsafe class FakeQuantPass
{
    /// <summary>A result of more bytes leaves the caches before anybody reads it, so it is written around them.</summary>
    private const long MostCachedBytes = 32L << 20;

    /// <summary>In elements: two pages ahead, since the processor itself does not look beyond a page.</summary>
    private const int PrefetchDistance = 2048;

    /// <summary>RoundScale's whole numbers, ties to even.</summary>
    private const byte ToNearest = 0;

    /// <summary>y = code(x) · scale with absmax scales, as quantizing and dequantizing would give it.</summary>
    /// <param name="x">[rows, columns].</param>
    /// <param name="shape">The sizes.</param>
    /// <param name="range">The codes' range.</param>
    /// <param name="y">[rows, columns], the result; may be <paramref name="x"/>.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void AbsMax(float* x, RowShape shape, CodeRange range, float* y, int threads)
    {
        shape.Check();
        RowsJob.Run(shape.Rows, shape.Columns, threads, row =>
        {
            for (var tile = 0L; tile < shape.Tiles; tile++)
            {
                var from = row * shape.Columns + tile * shape.TileSize;
                var scale = RowQuantizer.Scale(RowQuantizer.AbsMax(x + from, shape.Length(tile)), range);
                Tile(x + from, shape.Length(tile), 1, scale, 0, range, y + from, Streams(shape, x, y, from));
            }
        });
    }

    /// <summary>y = (code(x) − zero point) · scale with minmax scales, as quantizing and dequantizing would give it.</summary>
    /// <param name="x">[rows, columns].</param>
    /// <param name="shape">The sizes.</param>
    /// <param name="range">The codes' range.</param>
    /// <param name="y">[rows, columns], the result; may be <paramref name="x"/>.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void MinMax(float* x, RowShape shape, CodeRange range, float* y, int threads)
    {
        shape.Check();
        RowsJob.Run(shape.Rows, shape.Columns, threads, row =>
        {
            for (var tile = 0L; tile < shape.Tiles; tile++)
            {
                var from = row * shape.Columns + tile * shape.TileSize;
                var (min, max) = RowQuantizer.MinMax(x + from, shape.Length(tile));
                var (scale, zeroPoint) = RowQuantizer.ScaleAndZeroPoint(min, max, range);
                Tile(x + from, shape.Length(tile), 1, scale, zeroPoint, range, y + from, Streams(shape, x, y, from));
            }
        });
    }

    /// <summary>y = code(x · factor) · scale of an array [outer, channels, inner], with a scale for each index of one of the first two axes.</summary>
    /// <param name="x">[outer, channels, inner].</param>
    /// <param name="outer">The length of the first axis.</param>
    /// <param name="channels">The length of the second axis.</param>
    /// <param name="inner">The length of the last axis.</param>
    /// <param name="factors">What x is multiplied by before.</param>
    /// <param name="outerStep">The distance of factors along the first axis, 0 where they do not change.</param>
    /// <param name="channelStep">The distance of factors along the second axis, 0 where they do not change.</param>
    /// <param name="scalePerChannel">Whether the second axis has the scales; else the first.</param>
    /// <param name="range">The codes' range.</param>
    /// <param name="y">[outer, channels, inner], the result.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void AbsMaxOfChannels(float* x, long outer, long channels, long inner, float* factors, long outerStep, long channelStep, bool scalePerChannel, CodeRange range, float* y, int threads)
    {
        var (groups, members) = scalePerChannel ? (channels, outer) : (outer, channels);
        RowsJob.Run(groups, members * inner, threads, group =>
        {
            // The largest product has the largest value: rounding keeps the order. Bits of magnitudes have it too, NaN last.
            var largest = 0;
            for (var member = 0L; member < members; member++)
            {
                var (place, factor) = Segment(group, member);
                largest = Math.Max(largest, BitConverter.SingleToInt32Bits(RowQuantizer.AbsMax(x + place, inner) * factor) & int.MaxValue);
            }
            var scale = RowQuantizer.Scale(BitConverter.Int32BitsToSingle(largest), range);
            for (var member = 0L; member < members; member++)
            {
                var (place, factor) = Segment(group, member);
                Tile(x + place, inner, factor, scale, 0, range, y + place, streams: false);
            }
        });

        (long Place, float Factor) Segment(long group, long member)
        {
            var (first, second) = scalePerChannel ? (member, group) : (group, member);
            return ((first * channels + second) * inner, factors[first * outerStep + second * channelStep]);
        }
    }

    /// <summary>The gradient's mask: y = gradient where low ≤ x ≤ high, else 0. A NaN in x gives 0.</summary>
    /// <param name="x">The forward's input.</param>
    /// <param name="gradient">The incoming gradient.</param>
    /// <param name="shape">The sizes.</param>
    /// <param name="low">[rows, tiles].</param>
    /// <param name="high">[rows, tiles].</param>
    /// <param name="y">[rows, columns], the result; may be <paramref name="gradient"/>.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void Mask(float* x, float* gradient, RowShape shape, float* low, float* high, float* y, int threads)
    {
        shape.Check();
        RowsJob.Run(shape.Rows, shape.Columns, threads, row =>
        {
            for (var tile = 0L; tile < shape.Tiles; tile++)
            {
                var from = row * shape.Columns + tile * shape.TileSize;
                var bound = row * shape.Tiles + tile;
                MaskTile(x + from, gradient + from, shape.Length(tile), low[bound], high[bound], y + from, Streams(shape, gradient, y, from));
            }
        });
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Tile(float* x, long count, float factor, float scale, float zeroPoint, CodeRange range, float* y, bool streams)
    {
        var i = 0L;
        float lowest = range.Lowest, highest = range.Highest;
        // 0 less a zero point of 0 is +0, and added to −0 it gives the +0 of a code.
        // The bounds come first: with a NaN the instructions return their second operand.
        if (Avx512F.IsSupported)
        {
            var f = Vector512.Create(factor);
            var s = Vector512.Create(scale);
            var z = Vector512.Create(zeroPoint);
            var back = Vector512.Create(0 - zeroPoint);
            var low = Vector512.Create(lowest);
            var high = Vector512.Create(highest);
            for (; i + 16 <= count; i += 16)
            {
                // The row behind comes next: dividing takes as long as fetching it.
                Sse.Prefetch0(x + i + count);
                var rounded = Avx512F.RoundScale(Vector512.Load(x + i) * f / s + z, ToNearest);
                rounded = Avx512F.Max(low, Avx512F.Min(high, rounded));
                Store((rounded + back) * s, y + i, streams);
            }
        }
        else if (Avx.IsSupported)
        {
            var f = Vector256.Create(factor);
            var s = Vector256.Create(scale);
            var z = Vector256.Create(zeroPoint);
            var back = Vector256.Create(0 - zeroPoint);
            for (; i + 8 <= count; i += 8)
            {
                Sse.Prefetch0(x + i + count);
                var rounded = Avx.RoundToNearestInteger(Vector256.Load(x + i) * f / s + z);
                rounded = Avx.Max(Vector256.Create(lowest), Avx.Min(Vector256.Create(highest), rounded));
                Store((rounded + back) * s, y + i, streams);
            }
        }
        for (; i < count; i++)
            y[i] = (MathF.Min(MathF.Max(MathF.Round(x[i] * factor / scale + zeroPoint, MidpointRounding.ToEven), lowest), highest) + (0 - zeroPoint)) * scale;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void MaskTile(float* x, float* gradient, long count, float low, float high, float* y, bool streams)
    {
        var i = 0L;
        if (Vector512.IsHardwareAccelerated)
        {
            var least = Vector512.Create(low);
            var most = Vector512.Create(high);
            for (; i + 16 <= count; i += 16)
            {
                if (Sse.IsSupported)
                {
                    Sse.Prefetch0(x + i + PrefetchDistance);
                    Sse.Prefetch0(gradient + i + PrefetchDistance);
                }
                var v = Vector512.Load(x + i);
                var inside = Vector512.GreaterThanOrEqual(v, least) & Vector512.LessThanOrEqual(v, most);
                Store(inside & Vector512.Load(gradient + i), y + i, streams);
            }
        }
        var l = Vector256.Create(low);
        var h = Vector256.Create(high);
        for (; i + 8 <= count; i += 8)
        {
            var v = Vector256.Load(x + i);
            var inside = Vector256.GreaterThanOrEqual(v, l) & Vector256.LessThanOrEqual(v, h);
            Store(inside & Vector256.Load(gradient + i), y + i, streams);
        }
        for (; i < count; i++)
            y[i] = x[i] >= low && x[i] <= high ? gradient[i] : 0;
    }

    private static bool Streams(RowShape shape, float* x, float* y, long from) =>
        shape.Rows * shape.Columns * sizeof(float) > MostCachedBytes && x != y && ((nint)(y + from) & 63) == 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(Vector512<float> v, float* y, bool streams)
    {
        if (streams)
            v.StoreAlignedNonTemporal(y);
        else
            v.Store(y);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(Vector256<float> v, float* y, bool streams)
    {
        if (streams)
            v.StoreAlignedNonTemporal(y);
        else
            v.Store(y);
    }
}
