using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels;

/// <summary>Products of activations and a packed weight on raw memory: y [M, N] = x [M, K] · wᵀ, float32 out.</summary>
/// <remarks>
/// Safe to call from several threads at once. A sum of products of codes must fit 32 bits within a tile, which every tile
/// up to 65,536 does; longer channels are split so that it holds.
/// </remarks>
internal static unsafe class MatMul
{
    /// <summary>
    /// Weight-only: float32 activations. The result is within 1e-5 of dequantize-then-multiply in float32, relative to the
    /// magnitudes summed.
    /// </summary>
    /// <param name="x">[rows, K].</param>
    /// <param name="xStride">The distance from one row of x to the next, in elements.</param>
    /// <param name="rows">M.</param>
    /// <param name="weight">w, any format.</param>
    /// <param name="output">y, bias and activation.</param>
    /// <param name="threads">How many threads take part, the caller included.</param>
    /// <param name="selector">Which kernels; the best of the machine if null.</param>
    public static void WeightOnly(float* x, long xStride, int rows, PackedWeight weight, in ProductOutput output, int threads, KernelSelector? selector = null)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(rows);
        if (rows == 0 || weight.Rows == 0)
            return;
        selector ??= KernelSelector.Default;
        if (selector.Planes(weight, rows) is { } integer && DigitPlanes.CanSplit(x, xStride, rows, weight.Depth, weight.TileSize))
        {
            var input = new QuantizedInput { Source = QuantizedSource.Planes, Values = (nint)x, RowStride = xStride, Rows = rows };
            IntegerProduct.Run(integer, weight, input, output, threads);
            return;
        }
        var kernel = selector.Float(weight, rows);
        FloatProduct.Run(kernel, weight, x, xStride, rows, output, threads);
    }

    /// <summary>Quantized activations, exact within each tile; see <see cref="QuantizedInput"/>.</summary>
    /// <param name="input">x.</param>
    /// <param name="weight">w, of an integer format.</param>
    /// <param name="output">y, bias and activation.</param>
    /// <param name="threads">How many threads take part, the caller included.</param>
    /// <param name="selector">Which kernels; the best of the machine if null.</param>
    /// <exception cref="ArgumentException">The weight's codes are not integers.</exception>
    public static void Quantized(in QuantizedInput input, PackedWeight weight, in ProductOutput output, int threads, KernelSelector? selector = null)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(input.Rows);
        var kernel = (selector ?? KernelSelector.Default).Integer(weight, input.Rows);
        if (input.Rows == 0 || weight.Rows == 0)
            return;
        IntegerProduct.Run(kernel, weight, input, output, threads);
    }

    /// <summary>
    /// float32 activations that are quantized inside: a scale for each row from its largest magnitude.
    /// </summary>
    /// <param name="x">[rows, K].</param>
    /// <param name="xStride">The distance from one row of x to the next, in elements.</param>
    /// <param name="rows">M.</param>
    /// <param name="weight">w, of an integer format.</param>
    /// <param name="output">y, bias and activation.</param>
    /// <param name="threads">How many threads take part, the caller included.</param>
    /// <param name="bits">The bits of the activations' codes, 1 … 8.</param>
    /// <param name="scalePerTile">Whether each of the weight's tiles of K of a row has a scale of its own.</param>
    /// <param name="selector">Which kernels; the best of the machine if null.</param>
    /// <exception cref="ArgumentException">The weight's codes are not integers.</exception>
    public static void Dynamic(float* x, long xStride, int rows, PackedWeight weight, in ProductOutput output, int threads, int bits = 8, bool scalePerTile = false, KernelSelector? selector = null)
    {
        if (bits is < 1 or > 8)
            throw new ArgumentOutOfRangeException(nameof(bits), bits, "Integer codes have 1 to 8 bits.");
        var input = new QuantizedInput
        {
            Source = QuantizedSource.Dynamic,
            Values = (nint)x,
            RowStride = xStride,
            Rows = rows,
            Range = CodeRange.OfBits(bits),
            ScalePerTile = scalePerTile,
        };
        Quantized(input, weight, output, threads, selector);
    }
}
