using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>
/// Gradients of products with regard to one operand, the other being a constant, quantized or not. Each belongs to the
/// caller.
/// </summary>
internal static class ProductGradients
{
    /// <summary>The gradient of lhs of a general dot product.</summary>
    /// <param name="gradient">[batch, free axes of lhs, free axes of rhs].</param>
    /// <param name="rhs">The other operand.</param>
    /// <param name="numbers">The dimension numbers of the product.</param>
    /// <param name="lhsRank">The number of axes of lhs.</param>
    internal static Tensor OfLhs(Tensor gradient, Operand rhs, DotDimensionNumbers numbers, int lhsRank)
    {
        using var scope = NewDisposeScope();
        AxisGroups left = numbers.Groups(forLhs: true, lhsRank), right = numbers.Groups(forLhs: false, rhs.Rank);
        int batch = left.Batch.Length;
        int[] batchAxes = [.. Enumerable.Range(0, batch)], freeOfRhs = [.. Enumerable.Range(batch + left.Free.Length, right.Free.Length)];
        var product = DotGeneralOp.Compute(gradient, rhs, new(freeOfRhs, right.Free, batchAxes, right.Batch), null);

        // What is left of rhs are its contracted axes in their own order; each goes where its partner in lhs is.
        int[] source = [.. left.Batch, .. left.Free, .. right.Contracting.Order().Select(axis => left.Contracting[Array.IndexOf(right.Contracting, axis)])];
        return product.permute([.. Enumerable.Range(0, lhsRank).Select(axis => (long)Array.IndexOf(source, axis))]).MoveToOuterDisposeScope();
    }

    /// <summary>The gradient of rhs of a general dot product.</summary>
    /// <param name="gradient">[batch, free axes of lhs, free axes of rhs].</param>
    /// <param name="lhs">The other operand.</param>
    /// <param name="numbers">The dimension numbers of the product.</param>
    /// <param name="rhsRank">The number of axes of rhs.</param>
    internal static Tensor OfRhs(Tensor gradient, Operand lhs, DotDimensionNumbers numbers, int rhsRank)
    {
        using var scope = NewDisposeScope();
        int batch = numbers.LhsBatch.Count, freeOfLhs = lhs.Rank - batch - numbers.LhsContracting.Count;
        long[] swapped = [.. Enumerable.Range(0, batch), .. Enumerable.Range(batch + freeOfLhs, (int)gradient.dim() - batch - freeOfLhs), .. Enumerable.Range(batch, freeOfLhs)];
        var mirrored = new DotDimensionNumbers(numbers.RhsContracting, numbers.LhsContracting, numbers.RhsBatch, numbers.LhsBatch);
        return OfLhs(gradient.permute(swapped), lhs, mirrored, rhsRank).MoveToOuterDisposeScope();
    }

    /// <summary>The equation that gives the gradient of one operand of an Einstein sum of two.</summary>
    /// <param name="equation">The equation.</param>
    /// <param name="shapes">The shapes of both operands.</param>
    /// <param name="operand">Whose gradient: 0 or 1.</param>
    /// <returns>An equation of the result's gradient and the other operand; null where the gradient is no plain Einstein sum.</returns>
    internal static string? EquationOf(string equation, long[][] shapes, int operand)
    {
        var parsed = EinsumEquation.Parse(equation, shapes[0].Length, shapes[1].Length);
        string own = parsed.Inputs[operand], other = parsed.Inputs[1 - operand];
        // An index that is summed alone, repeated or stretched has a gradient that is repeated or summed.
        bool plain = own.All(letter => parsed.Output.Contains(letter) || other.Contains(letter))
            && own.Distinct().Count() == own.Length && other.Distinct().Count() == other.Length
            && own.Where(other.Contains).All(letter => shapes[operand][own.IndexOf(letter)] == shapes[1 - operand][other.IndexOf(letter)]);
        return plain ? $"{parsed.Output},{other}->{own}" : null;
    }

    /// <summary>The gradient of the input of a convolution.</summary>
    /// <param name="gradient">[batch, output features, spatial…].</param>
    /// <param name="kernel">[output features, input features ÷ groups, spatial…].</param>
    /// <param name="inputShape">The shape of the input, [batch, input features, spatial…].</param>
    /// <param name="strides">One number a spatial axis.</param>
    /// <param name="padding">In front and behind each spatial axis.</param>
    /// <param name="dilation">One number a spatial axis.</param>
    /// <param name="groups">The feature groups.</param>
    internal static Tensor OfConvolutionInput(Tensor gradient, Operand kernel, long[] inputShape, long[] strides, (long Low, long High)[] padding, long[] dilation, long groups)
    {
        using var scope = NewDisposeScope();
        int axes = strides.Length;
        var w = kernel.Dequantize();
        // What strides leave over at the end of the padded input met no kernel; its gradient is zero.
        long[] padded = [.. Enumerable.Range(0, axes).Select(i => inputShape[i + 2] + padding[i].Low + padding[i].High)];
        long[] rest = [.. Enumerable.Range(0, axes).Select(i => (padded[i] - ((dilation[i] * (w.shape[i + 2] - 1)) + 1)) % strides[i])];
        long[] none = new long[axes];
        var result = axes switch
        {
            1 => nn.functional.conv_transpose1d(gradient, w, null, strides[0], 0, rest[0], dilation[0], groups),
            2 => nn.functional.conv_transpose2d(gradient, w, null, strides, none, rest, dilation, groups),
            _ => nn.functional.conv_transpose3d(gradient, w, null, strides, none, rest, dilation, groups),
        };
        for (int i = 0; i < axes; i++)
            result = result.narrow(i + 2, padding[i].Low, inputShape[i + 2]);
        return result.MoveToOuterDisposeScope();
    }
}
