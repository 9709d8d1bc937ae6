using QwixSharp.Kernels.Activations;

namespace QwixSharp.Kernels;

/// <summary>
/// Several products of the same activations: these are quantized once, and one parallel region serves all. Each is, bit for
/// bit, the product that it would be alone.
/// </summary>
internal static unsafe partial class MatMul
{
    /// <summary><see cref="Quantized(in QuantizedInput, Weights.PackedWeight, in ProductOutput, int, KernelSelector?)"/> of several weights.</summary>
    /// <param name="input">x.</param>
    /// <param name="parts">The weights, of an integer format, and their results. The weights can be grouped (<see cref="ProductPart.CanGroup"/>).</param>
    /// <param name="threads">How many threads take part, the caller included.</param>
    /// <param name="selector">Which kernels; the best of the machine if null.</param>
    /// <exception cref="ArgumentException">The codes of a weight are not integers, or weights want other activations than the first.</exception>
    public static void Quantized(in QuantizedInput input, ReadOnlySpan<ProductPart> parts, int threads, KernelSelector? selector = null)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(input.Rows);
        if (parts.IsEmpty)
            return;
        var kernel = (selector ?? KernelSelector.Default).Integer(parts, input.Rows);
        long rows = 0;
        foreach (ref readonly var part in parts)
        {
            rows += part.Weight.Rows;
            if (!ProductPart.CanGroup(part.Weight, parts[0].Weight))
                throw new ArgumentException("Weights of a group must have the same format, depth and tiles.", nameof(parts));
        }
        if (input.Rows != 0 && rows != 0)
            IntegerProduct.Run(kernel, parts, input, threads);
    }

    /// <summary><see cref="Dynamic(in FloatInput, Weights.PackedWeight, in ProductOutput, int, int, bool, KernelSelector?)"/> of several weights.</summary>
    /// <param name="x">[M, K].</param>
    /// <param name="parts">The weights, of an integer format, and their results. The weights can be grouped (<see cref="ProductPart.CanGroup"/>).</param>
    /// <param name="threads">How many threads take part, the caller included.</param>
    /// <param name="bits">The bits of the activations' codes, 1 … 8.</param>
    /// <param name="scalePerTile">Whether each of the weights' tiles of K of a row has a scale of its own.</param>
    /// <param name="selector">Which kernels; the best of the machine if null.</param>
    /// <exception cref="ArgumentException">The codes of a weight are not integers, or weights want other activations than the first.</exception>
    public static void Dynamic(in FloatInput x, ReadOnlySpan<ProductPart> parts, int threads, int bits = 8, bool scalePerTile = false, KernelSelector? selector = null)
    {
        if (bits is < 1 or > 8)
            throw new ArgumentOutOfRangeException(nameof(bits), bits, "Integer codes have 1 to 8 bits.");
        var input = new QuantizedInput
        {
            Source = QuantizedSource.Dynamic,
            Values = x.Values,
            RowStride = x.RowStride,
            Rows = x.Rows,
            Format = x.Format,
            Range = CodeRange.OfBits(bits),
            ScalePerTile = scalePerTile,
        };
        Quantized(input, parts, threads, selector);
    }
}
