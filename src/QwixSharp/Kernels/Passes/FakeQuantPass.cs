using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using QwixSharp.Kernels.Activations;

namespace QwixSharp.Kernels.Passes;

/// <summary>Quantize and dequantize at once, for training, without codes in memory.</summary>
internal static unsafe class FakeQuantPass
{
    /// <summary>RoundScale's whole numbers, ties to even.</summary>
    private const byte ToNearest = 0;

    /// <summary>y = code(x) · scale with absmax scales, as quantizing and dequantizing would give it.</summary>
    /// <param name="x">[rows, columns].</param>
    /// <param name="shape">The sizes.</param>
    /// <param name="range">The codes' range.</param>
    /// <param name="factor">What the largest magnitude of a tile is multiplied by; below 1 the largest values are clipped.</param>
    /// <param name="y">[rows, columns], the result; may be <paramref name="x"/>.</param>
    /// <param name="bits">Takes a bit an element, 1 where the value is not clipped (see <see cref="BitMaskPass"/>); or null.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void AbsMax(float* x, RowShape shape, CodeRange range, float factor, float* y, byte* bits, int threads)
    {
        shape.Check();
        // Rows that share a byte of bits are one thread's.
        var together = bits != null && shape.Columns % 8 != 0 ? 8 : 1;
        RowsJob.Run(
            shape.Rows,
            shape.Columns,
            threads,
            row =>
            {
                for (var tile = 0L; tile < shape.Tiles; tile++)
                {
                    long from = row * shape.Columns + tile * shape.TileSize, length = shape.Length(tile);
                    var largest = RowQuantizer.AbsMax(x + from, length) * factor;
                    var own = Marked(x, from, length, -largest, largest, bits);
                    Tile(x + from, length, 1, RowQuantizer.Scale(largest, range), 0, range, y + from, Streams(shape, x, y, from), -largest, largest, own);
                }
            },
            together);
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

    /// <summary>y = (code(x) − zero point) · scale with scales known before.</summary>
    /// <param name="x">[rows, columns].</param>
    /// <param name="shape">The sizes.</param>
    /// <param name="scales">[rows, tiles].</param>
    /// <param name="zeroPoints">[rows, tiles], or null for 0.</param>
    /// <param name="range">The codes' range.</param>
    /// <param name="y">[rows, columns], the result; may be <paramref name="x"/>.</param>
    /// <param name="low">[rows, tiles], the least value that is inside; read where bits are wanted.</param>
    /// <param name="high">[rows, tiles], the largest value that is inside; read where bits are wanted.</param>
    /// <param name="bits">Takes a bit an element, 1 where the value is inside (see <see cref="BitMaskPass"/>); or null.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void WithScales(float* x, RowShape shape, float* scales, int* zeroPoints, CodeRange range, float* y, float* low, float* high, byte* bits, int threads)
    {
        shape.Check();
        RowsJob.RunInParts(shape, threads, (from, length, tile) =>
        {
            var (least, most) = bits == null ? (0, 0) : (low[tile], high[tile]);
            var own = Marked(x, from, length, least, most, bits);
            Tile(x + from, length, 1, scales[tile], zeroPoints == null ? 0 : zeroPoints[tile], range, y + from, Streams(shape, x, y, from), least, most, own);
        });
    }

    /// <summary>Marks a tile that does not begin with a byte of bits.</summary>
    /// <returns>Where the bits of any other tile begin, which is marked while it is rounded; or null.</returns>
    private static byte* Marked(float* x, long from, long count, float least, float most, byte* bits)
    {
        if (bits == null || (from & 7) == 0)
            return bits == null ? null : bits + from / 8;
        BitMaskPass.Mark(x, from, count, least, most, bits);
        return null;
    }

    private static void Tile(float* x, long count, float factor, float scale, float zeroPoint, CodeRange range, float* y, bool streams) =>
        Tile(x, count, factor, scale, zeroPoint, range, y, streams, 0, 0, null);

    /// <summary>Rounds a tile, and marks it where bits are given.</summary>
    private static void Tile(float* x, long count, float factor, float scale, float zeroPoint, CodeRange range, float* y, bool streams, float least, float most, byte* bits)
    {
        var done = 0L;
        if (factor == 1 && zeroPoint == 0 && (bits == null || least == -most) && ReciprocalRounding.Serves(scale, range))
            done = ReciprocalRounding.Run(x, count, scale, range, y, streams, most, bits);
        if (done < count)
            Divide(x + done, count - done, factor, scale, zeroPoint, range, y + done, streams, least, most, bits == null ? null : bits + done / 8);
    }

    /// <summary>Rounds quotients.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Divide(float* x, long count, float factor, float scale, float zeroPoint, CodeRange range, float* y, bool streams, float least, float most, byte* bits)
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
            var from = Vector512.Create(least);
            var to = Vector512.Create(most);
            for (; i + 16 <= count; i += 16)
            {
                // The row behind comes next: dividing takes as long as fetching it.
                Sse.Prefetch0(x + i + count);
                var v = Vector512.Load(x + i);
                if (bits != null)
                    *(ushort*)(bits + (i >> 3)) = BitMaskPass.Inside(v, from, to);
                var rounded = Avx512F.RoundScale(v * f / s + z, ToNearest);
                rounded = Avx512F.Max(low, Avx512F.Min(high, rounded));
                Streaming.Store((rounded + back) * s, y + i, streams);
            }
        }
        else if (Avx.IsSupported)
        {
            var f = Vector256.Create(factor);
            var s = Vector256.Create(scale);
            var z = Vector256.Create(zeroPoint);
            var back = Vector256.Create(0 - zeroPoint);
            var from = Vector256.Create(least);
            var to = Vector256.Create(most);
            var low = Vector256.Create(lowest);
            var high = Vector256.Create(highest);
            for (; i + 16 <= count; i += 16)
            {
                Sse.Prefetch0(x + i + count);
                var v = Vector256.Load(x + i);
                var w = Vector256.Load(x + i + 8);
                if (bits != null)
                    *(ushort*)(bits + (i >> 3)) = (ushort)(BitMaskPass.Inside(v, from, to) | BitMaskPass.Inside(w, from, to) << 8);
                v = Avx.RoundToNearestInteger(v * f / s + z);
                w = Avx.RoundToNearestInteger(w * f / s + z);
                v = Avx.Max(low, Avx.Min(high, v));
                w = Avx.Max(low, Avx.Min(high, w));
                Streaming.Store((v + back) * s, y + i, streams);
                Streaming.Store((w + back) * s, y + i + 8, streams);
            }
        }
        if (bits != null)
            BitMaskPass.Mark(x, i, count - i, least, most, bits);
        for (; i < count; i++)
            y[i] = (MathF.Min(MathF.Max(MathF.Round(x[i] * factor / scale + zeroPoint, MidpointRounding.ToEven), lowest), highest) + (0 - zeroPoint)) * scale;
    }

    private static bool Streams(RowShape shape, float* x, float* y, long from) => Streaming.Pays(shape.Rows * shape.Columns, x, y, from);
}
