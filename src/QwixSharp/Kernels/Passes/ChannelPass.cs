using System.Runtime.Intrinsics;
using QwixSharp.Kernels.Activations;

namespace QwixSharp.Kernels.Passes;

/// <summary>
/// Quantizes the incoming gradient of a convolution, an array [outer, channels, inner] with a scale for each index of its
/// second axis, multiplied before by the scales of the operand that it meets: symmetric, from the largest magnitude,
/// bit for bit as <see cref="RowQuantizer"/> describes.
/// </summary>
internal static unsafe class ChannelPass
{
    /// <summary>Products are made and quantized so many at a time, on the stack.</summary>
    private const int Piece = 256;

    /// <summary>A scale an index of the second axis, which comes first in the codes: for a product that contracts over the others.</summary>
    /// <param name="x">[outer, channels, inner].</param>
    /// <param name="outer">The length of the first axis.</param>
    /// <param name="channels">The length of the second axis.</param>
    /// <param name="inner">The length of the last axis.</param>
    /// <param name="factors">[outer], what x is multiplied by before.</param>
    /// <param name="range">The codes' range.</param>
    /// <param name="codes">[channels, outer, inner], the result.</param>
    /// <param name="scales">[channels], the result.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void OfChannels(float* x, long outer, long channels, long inner, float* factors, CodeRange range, sbyte* codes, float* scales, int threads) =>
        RowsJob.Run(channels, outer * inner, threads, index =>
            Quantize(x + index * inner, channels * inner, outer, inner, factors, range, codes + index * outer * inner, scales + index));

    /// <summary>Segments with a factor each and one scale.</summary>
    private static void Quantize(float* x, long step, long segments, long length, float* factors, CodeRange range, sbyte* codes, float* scale)
    {
        // The largest product has the largest value: rounding keeps the order. Bits of magnitudes have it too, NaN last.
        var largest = 0;
        for (var segment = 0L; segment < segments; segment++)
            largest = Math.Max(largest, BitConverter.SingleToInt32Bits(RowQuantizer.AbsMax(x + segment * step, length) * factors[segment]) & int.MaxValue);
        *scale = RowQuantizer.Scale(BitConverter.Int32BitsToSingle(largest), range);

        var products = stackalloc float[Piece];
        for (var segment = 0L; segment < segments; segment++, x += step, codes += length)
            for (var start = 0L; start < length; start += Piece)
            {
                var count = Math.Min(Piece, length - start);
                Multiply(x + start, factors[segment], count, products);
                RowQuantizer.Quantize(products, count, *scale, 0, range, codes + start);
            }
    }

    private static void Multiply(float* x, float factor, long count, float* y)
    {
        var i = 0L;
        for (; i + 8 <= count; i += 8)
            (Vector256.Load(x + i) * factor).Store(y + i);
        for (; i < count; i++)
            y[i] = x[i] * factor;
    }
}
