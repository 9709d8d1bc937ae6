using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels;

/// <summary>Products of activations and a packed weight on raw memory: y [M, N] = x [M, K] · wᵀ.</summary>
/// <remarks>
/// Safe to call from several threads at once. A sum of products of codes must fit 32 bits within a tile, which every tile
/// up to 65,536 does; longer channels are split so that it holds.
/// </remarks>
internal static unsafe partial class MatMul
{
    /// <summary>float32 activations for integer kernels, while a product runs.</summary>
    [ThreadStatic]
    private static Workspace? _widened;

    /// <summary>
    /// Weight-only: floating-point activations. The result is within 1e-5 of dequantize-then-multiply in float32, relative to the
    /// magnitudes summed, before it is rounded to its own format.
    /// </summary>
    /// <param name="x">[M, K].</param>
    /// <param name="weight">w, any format.</param>
    /// <param name="output">y, bias and activation.</param>
    /// <param name="threads">How many threads take part, the caller included.</param>
    /// <param name="selector">Which kernels; the best of the machine if null.</param>
    public static void WeightOnly(in FloatInput x, PackedWeight weight, in ProductOutput output, int threads, KernelSelector? selector = null)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(x.Rows);
        if (x.Rows == 0 || weight.Rows == 0)
            return;
        selector ??= KernelSelector.Default;
        if (selector.Planes(weight, x.Rows) is { } integer)
        {
            var values = Widened(x, weight.Depth);
            if (PlanesCheck.CanSplit(values, weight, threads))
            {
                var input = new QuantizedInput { Source = QuantizedSource.Planes, Values = values.Values, RowStride = values.RowStride, Rows = values.Rows };
                IntegerProduct.Run(integer, [new ProductPart(weight, output)], input, threads);
                return;
            }
        }
        FloatProduct.Run(selector.Float(weight, x.Rows), weight, x, output, threads);
    }

    /// <summary><see cref="WeightOnly(in FloatInput, PackedWeight, in ProductOutput, int, KernelSelector?)"/> of float32 activations.</summary>
    /// <param name="x">[rows, K].</param>
    /// <param name="xStride">The distance from one row of x to the next, in elements.</param>
    /// <param name="rows">M.</param>
    /// <param name="weight">w, any format.</param>
    /// <param name="output">y, bias and activation.</param>
    /// <param name="threads">How many threads take part, the caller included.</param>
    /// <param name="selector">Which kernels; the best of the machine if null.</param>
    public static void WeightOnly(float* x, long xStride, int rows, PackedWeight weight, in ProductOutput output, int threads, KernelSelector? selector = null) =>
        WeightOnly(new FloatInput((nint)x, xStride, rows), weight, output, threads, selector);

    /// <summary>Quantized activations, exact within each tile; see <see cref="QuantizedInput"/>.</summary>
    /// <param name="input">x.</param>
    /// <param name="weight">w, of an integer format.</param>
    /// <param name="output">y, bias and activation.</param>
    /// <param name="threads">How many threads take part, the caller included.</param>
    /// <param name="selector">Which kernels; the best of the machine if null.</param>
    /// <exception cref="ArgumentException">The weight's codes are not integers.</exception>
    public static void Quantized(in QuantizedInput input, PackedWeight weight, in ProductOutput output, int threads, KernelSelector? selector = null)
    {
        Quantized(input, [new ProductPart(weight, output)], threads, selector);
    }

    /// <summary>
    /// Floating-point activations that are quantized inside: a scale for each row from its largest magnitude.
    /// </summary>
    /// <param name="x">[M, K].</param>
    /// <param name="weight">w, of an integer format.</param>
    /// <param name="output">y, bias and activation.</param>
    /// <param name="threads">How many threads take part, the caller included.</param>
    /// <param name="bits">The bits of the activations' codes, 1 … 8.</param>
    /// <param name="scalePerTile">Whether each of the weight's tiles of K of a row has a scale of its own.</param>
    /// <param name="selector">Which kernels; the best of the machine if null.</param>
    /// <exception cref="ArgumentException">The weight's codes are not integers.</exception>
    public static void Dynamic(in FloatInput x, PackedWeight weight, in ProductOutput output, int threads, int bits = 8, bool scalePerTile = false, KernelSelector? selector = null)
    {
        Dynamic(x, [new ProductPart(weight, output)], threads, bits, scalePerTile, selector);
    }

    /// <summary><see cref="Dynamic(in FloatInput, PackedWeight, in ProductOutput, int, int, bool, KernelSelector?)"/> of float32 activations.</summary>
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
    public static void Dynamic(float* x, long xStride, int rows, PackedWeight weight, in ProductOutput output, int threads, int bits = 8, bool scalePerTile = false, KernelSelector? selector = null) =>
        Dynamic(new FloatInput((nint)x, xStride, rows), weight, output, threads, bits, scalePerTile, selector);

    /// <summary>The few rows that integer kernels take, as float32.</summary>
    private static FloatInput Widened(in FloatInput x, int depth)
    {
        if (x.Format == FloatFormat.Float32)
            return x;
        var values = (float*)(_widened ??= new Workspace()).Reserve((long)x.Rows * depth * sizeof(float));
        for (var row = 0; row < x.Rows; row++)
            x.Read(row, 0, depth, values + (long)row * depth);
        return new((nint)values, depth, x.Rows);
    }
}
