using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using QwixSharp.Kernels.Activations;

namespace QwixSharp.Kernels.Passes;

/// <summary>
/// Quantization of bfloat16 rows in one pass over memory. As in tensor arithmetic on bfloat16, each step is computed in float32
/// and rounded to bfloat16.
/// </summary>
internal static unsafe class BFloat16Pass
{
    /// <summary>Symmetric absmax quantization.</summary>
    /// <param name="x">[rows, columns], bfloat16.</param>
    /// <param name="shape">The sizes.</param>
    /// <param name="range">The codes' range.</param>
    /// <param name="codes">[rows, columns], the result.</param>
    /// <param name="scales">[rows, tiles], bfloat16, the result; NaN where a value of the tile is not finite.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void AbsMax(ushort* x, RowShape shape, CodeRange range, sbyte* codes, ushort* scales, int threads)
    {
        shape.Check();
        RowsJob.Run(shape.Rows, shape.Columns, threads, row =>
        {
            for (var tile = 0L; tile < shape.Tiles; tile++)
            {
                var from = row * shape.Columns + tile * shape.TileSize;
                var scale = RowQuantizer.Usable(Round(Widen(AbsMax(x + from, shape.Length(tile))) / range.Bound));
                scales[row * shape.Tiles + tile] = (ushort)(BitConverter.SingleToUInt32Bits(scale) >> 16);
                Quantize(x + from, shape.Length(tile), scale, range, codes + from);
            }
        });
    }

    /// <summary>The largest magnitude. Magnitudes are compared as integers, of which every NaN is above infinity.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static ushort AbsMax(ushort* x, long count)
    {
        var i = 0L;
        var largest = Vector256<ushort>.Zero;
        var mask = Vector256.Create((ushort)0x7FFF);
        for (; i + 16 <= count; i += 16)
            largest = Vector256.Max(largest, Vector256.Load(x + i) & mask);
        ushort result = 0;
        for (var lane = 0; lane < 16; lane++)
            result = Math.Max(result, largest.GetElement(lane));
        for (; i < count; i++)
            result = Math.Max(result, (ushort)(x[i] & 0x7FFF));
        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Quantize(ushort* x, long count, float scale, CodeRange range, sbyte* codes)
    {
        var i = 0L;
        var s = Vector256.Create(scale);
        var low = Vector256.Create((float)range.Lowest);
        var high = Vector256.Create((float)range.Highest);
        for (; i + 32 <= count; i += 32)
        {
            var first = Codes(Vector256.Load(x + i), s, low, high);
            var second = Codes(Vector256.Load(x + i + 16), s, low, high);
            Vector256.Narrow(first, second).Store(codes + i);
        }
        for (; i < count; i++)
        {
            var rounded = MathF.Round(Round(Widen(x[i]) / scale), MidpointRounding.ToEven);
            codes[i] = (sbyte)(int)MathF.Min(MathF.Max(rounded, range.Lowest), range.Highest);
        }
    }

    private static Vector256<short> Codes(Vector256<ushort> x, Vector256<float> scale, Vector256<float> low, Vector256<float> high)
    {
        var (lower, upper) = Vector256.Widen(x);
        return Vector256.Narrow(Codes(lower, scale, low, high), Codes(upper, scale, low, high));
    }

    private static Vector256<int> Codes(Vector256<uint> x, Vector256<float> scale, Vector256<float> low, Vector256<float> high)
    {
        var quotient = ((x << 16).AsSingle() / scale).AsUInt32();
        // To bfloat16, ties to even.
        quotient = (quotient + Vector256.Create(0x7FFFu) + ((quotient >>> 16) & Vector256<uint>.One)) & Vector256.Create(0xFFFF0000u);
        var rounded = Vector256.Round(quotient.AsSingle(), MidpointRounding.ToEven);
        return Vector256.ConvertToInt32Native(Vector256.Min(Vector256.Max(rounded, low), high));
    }

    private static float Widen(ushort x) => BitConverter.UInt32BitsToSingle((uint)x << 16);

    private static float Round(float x)
    {
        if (!float.IsFinite(x))
            return x;
        var bits = BitConverter.SingleToUInt32Bits(x);
        return BitConverter.UInt32BitsToSingle((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000);
    }
}
