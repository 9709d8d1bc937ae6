using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using QwixSharp.Kernels.Activations;

namespace QwixSharp.Kernels.Passes;

/// <summary>A small floating-point format: a sign bit above a magnitude whose codes grow with it.</summary>
/// <param name="MantissaBits">The bits of the mantissa.</param>
/// <param name="Bias">The bias of the exponent.</param>
/// <param name="Highest">The code of the largest magnitude.</param>
/// <param name="SignBit">The bit that is set in codes of negative numbers.</param>
internal readonly record struct SmallFloat(int MantissaBits, int Bias, int Highest, int SignBit);

/// <summary>
/// Quantization of float32 rows to codes that are no integers, in one pass over memory: a tile is calibrated by its largest magnitude and
/// quantized while it is in the cache.
/// </summary>
internal static unsafe class LevelPass
{
    private delegate void Encoder(float* x, long count, float scale, byte* codes);

    /// <summary>To a small float: the nearest, of two as near the one whose code is even; beyond the largest, the largest.</summary>
    /// <param name="x">[rows, columns].</param>
    /// <param name="shape">The sizes.</param>
    /// <param name="bound">The magnitude that the scale maps to 1.</param>
    /// <param name="format">The format.</param>
    /// <param name="codes">[rows, columns], the result. NaN gets an unspecified code.</param>
    /// <param name="scales">[rows, tiles], the result.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void Floats(float* x, RowShape shape, float bound, SmallFloat format, byte* codes, float* scales, int threads) =>
        Run(x, shape, bound, codes, scales, threads, (from, count, scale, to) => EncodeFloats(from, count, scale, format, to));

    /// <summary>To the place of a number in a codebook.</summary>
    /// <param name="x">[rows, columns].</param>
    /// <param name="shape">The sizes.</param>
    /// <param name="bound">The magnitude that the scale maps to 1.</param>
    /// <param name="bounds">The largest number of each code but the last, ascending.</param>
    /// <param name="codes">[rows, columns], the result. NaN gets the last code.</param>
    /// <param name="scales">[rows, tiles], the result.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void Codebook(float* x, RowShape shape, float bound, float[] bounds, byte* codes, float* scales, int threads) =>
        Run(x, shape, bound, codes, scales, threads, (from, count, scale, to) => EncodePlaces(from, count, scale, bounds, to));

    private static void Run(float* x, RowShape shape, float bound, byte* codes, float* scales, int threads, Encoder encode)
    {
        shape.Check();
        RowsJob.Run(shape.Rows, shape.Columns, threads, row =>
        {
            for (var tile = 0L; tile < shape.Tiles; tile++)
            {
                var from = row * shape.Columns + tile * shape.TileSize;
                var scale = RowQuantizer.Scale(RowQuantizer.AbsMax(x + from, shape.Length(tile)), bound);
                scales[row * shape.Tiles + tile] = scale;
                encode(x + from, shape.Length(tile), scale, codes + from);
            }
        });
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void EncodeFloats(float* x, long count, float scale, SmallFloat format, byte* codes)
    {
        var i = 0L;
        for (; i + 8 <= count; i += 8)
            Store(EncodeFloats(Vector256.Load(x + i) / Vector256.Create(scale), format), codes + i);
        if (i == count)
            return;
        var rest = stackalloc float[8];
        var last = stackalloc byte[8];
        Unsafe.CopyBlockUnaligned(rest, x + i, (uint)(count - i) * sizeof(float));
        Store(EncodeFloats(Vector256.Load(rest) / Vector256.Create(scale), format), last);
        Unsafe.CopyBlockUnaligned(codes + i, last, (uint)(count - i));
    }

    /// <summary>
    /// Of a normal number the bits that do not fit are rounded away, which carries into the exponent where it has to. A subnormal one is a
    /// multiple of the smallest, which the addition of a number of that unit in the last place rounds to.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> EncodeFloats(Vector256<float> value, SmallFloat format)
    {
        var shift = 23 - format.MantissaBits;
        var smallestNormal = BitConverter.Int32BitsToSingle((128 - format.Bias) << 23);
        // 2²³ units of the smallest subnormal number: its unit in the last place.
        var unit = Vector256.Create(BitConverter.Int32BitsToSingle((128 - format.Bias - format.MantissaBits + 23) << 23));
        var magnitude = Vector256.Abs(value);
        var bits = magnitude.AsInt32();
        var rounded = bits + Vector256.Create((1 << (shift - 1)) - 1) + (bits >>> shift & Vector256<int>.One);
        // The sum of what lies above the largest finite number would be negative.
        var normal = (rounded >>> shift) - Vector256.Create((127 - format.Bias) << format.MantissaBits);
        var subnormal = (magnitude + unit).AsInt32() - unit.AsInt32();
        var code = Vector256.ConditionalSelect(Vector256.LessThan(magnitude, Vector256.Create(smallestNormal)).AsInt32(), subnormal, normal);
        code = Vector256.Min(code, Vector256.Create(format.Highest));
        return code | value.AsInt32() >> 31 & Vector256.Create(format.SignBit);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void EncodePlaces(float* x, long count, float scale, float[] bounds, byte* codes)
    {
        var i = 0L;
        for (; i + 16 <= count; i += 16)
        {
            var a = Vector256.Load(x + i) / Vector256.Create(scale);
            var b = Vector256.Load(x + i + 8) / Vector256.Create(scale);
            var (place, next) = (Vector256.Create(bounds.Length), Vector256.Create(bounds.Length));
            foreach (var bound in bounds)
            {
                // A comparison that holds is −1.
                place += Vector256.LessThanOrEqual(a, Vector256.Create(bound)).AsInt32();
                next += Vector256.LessThanOrEqual(b, Vector256.Create(bound)).AsInt32();
            }
            Store(place, codes + i);
            Store(next, codes + i + 8);
        }
        for (; i < count; i++)
        {
            var (number, place) = (x[i] / scale, bounds.Length);
            foreach (var bound in bounds)
                place -= number <= bound ? 1 : 0;
            codes[i] = (byte)place;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(Vector256<int> codes, byte* to)
    {
        var words = Vector128.Narrow(codes.GetLower(), codes.GetUpper());
        Vector128.Narrow(words, words).AsByte().GetLower().Store(to);
    }
}
