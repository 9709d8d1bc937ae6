using QwixSharp.Arrays;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>Einstein summation, and how it quantizes its operands.</summary>
public static class EinsumOp
{
    /// <summary>
    /// How an operand is quantized: a scale for each index of every axis that is not contracted, and tiles along the
    /// operand's last contracted axis where a tile size is given.
    /// </summary>
    /// <param name="equation">An equation of two operands.</param>
    /// <param name="lhsRank">The number of axes of the first operand.</param>
    /// <param name="rhsRank">The number of axes of the second.</param>
    /// <param name="forLhs">Whether the first operand or the second is to be quantized.</param>
    /// <param name="qtype">The type of the codes.</param>
    /// <param name="tiling">A tile size for the contraction, or tile sizes by axis of the operand; null for no tiles.</param>
    /// <param name="calibration">How the range is found; <c>absmax</c> unless told.</param>
    /// <returns>How to quantize the operand.</returns>
    /// <exception cref="ArgumentException">The equation does not have two operands, repeats an index within one, or does not fit the ranks.</exception>
    public static HowToQuantize HowToQuantize(
        string equation,
        int lhsRank,
        int rhsRank,
        bool forLhs,
        QType qtype,
        Tiling? tiling = null,
        CalibrationMethod? calibration = null)
    {
        var parsed = EinsumEquation.Parse(equation, lhsRank, rhsRank);
        if (parsed.Inputs.FirstOrDefault(letters => letters.Distinct().Count() != letters.Length) is { } repeated)
            throw new ArgumentException($"The operands of the einsum equation \"{equation}\" cannot be quantized: '{repeated}' names an index twice.", nameof(equation));
        string own = parsed.Inputs[forLhs ? 0 : 1], other = parsed.Inputs[forLhs ? 1 : 0];
        int[] contracted = [.. Enumerable.Range(0, own.Length).Where(i => other.Contains(own[i]) && !parsed.Output.Contains(own[i]))];
        var tiles = Tiling.Resolve(tiling, contracted.Length == 0 ? null : contracted[^1]);
        return new HowToQuantize
        {
            QType = qtype,
            ChannelwiseAxes = [.. Enumerable.Range(0, own.Length).Except(contracted).Except(tiles.Keys)],
            TiledAxes = tiles,
            Calibration = calibration ?? CalibrationMethod.AbsMax(),
        };
    }

    /// <summary>Computes a sum of products.</summary>
    /// <param name="equation">The equation.</param>
    /// <param name="preferredElementType">The dtype of the result; that of the operands when dequantized unless told.</param>
    /// <param name="operands">The operands.</param>
    /// <param name="product">Multiplies two operands; <see cref="DotGeneralOp"/> unless told.</param>
    internal static Tensor Compute(string equation, ScalarType? preferredElementType, ReadOnlySpan<Operand> operands, Func<Operand, Operand, DotDimensionNumbers, Tensor>? product = null)
    {
        if (operands.Length == 0)
            throw new ArgumentException("An einsum needs at least one operand.", nameof(operands));
        using var scope = NewDisposeScope();
        var resultDtype = preferredElementType ?? ResultTypes.Of(operands);
        var scaleDtype = Codec.IsQuantizable(resultDtype) ? resultDtype : ScalarType.Float64;
        List<Operand> rest = [];
        foreach (var operand in operands)
            rest.Add(operand.WithIntegersAsCodes(scaleDtype));
        var parsed = EinsumEquation.Parse(equation, [.. rest.Select(o => o.Rank)]);
        var lengths = EinsumBroadcast.Lengths(rest, parsed.Inputs);
        List<string> letters = [.. parsed.Inputs];
        for (int i = 0; i < rest.Count; i++)
            (rest[i], letters[i]) = Simplify(EinsumBroadcast.Apply(rest[i], letters[i], lengths), letters, i, parsed.Output);

        while (rest.Count > 1)
        {
            var (first, second) = EinsumPath.Next(letters, parsed.Output, lengths);
            string kept = EinsumPath.Kept(letters, parsed.Output, first, second);
            var (partial, partialLetters) = Multiply(rest[first], letters[first], rest[second], letters[second], kept, product ?? ((l, r, n) => DotGeneralOp.Compute(l, r, n, resultDtype)));
            rest.RemoveAt(second);
            letters.RemoveAt(second);
            (rest[first], letters[first]) = (partial, partialLetters);
        }

        var result = rest[0].Dequantize().permute([.. parsed.Output.Select(letter => (long)letters[0].IndexOf(letter))]);
        return result.to(resultDtype).MoveToOuterDisposeScope();
    }

    /// <summary>Takes diagonals of indices that an operand repeats, and sums over those that no one else has.</summary>
    private static (Operand Operand, string Letters) Simplify(Operand operand, List<string> all, int position, string output)
    {
        string letters = all[position];
        string distinct = string.Concat(letters.Distinct());
        var needed = all.Where((_, i) => i != position).SelectMany(l => l).Concat(output).ToHashSet();
        string kept = string.Concat(distinct.Where(needed.Contains));
        if (kept == letters)
            return (operand, letters);
        var values = operand.Dequantize();
        foreach (char letter in distinct)
        {
            while (letters.IndexOf(letter) is var first && letters.LastIndexOf(letter) is var last && first != last)
            {
                values = values.diagonal(0, first, last);
                letters = letters.Remove(last, 1).Remove(first, 1) + letter;
            }
        }

        long[] summed = [.. Enumerable.Range(0, letters.Length).Where(i => !needed.Contains(letters[i])).Select(i => (long)i)];
        return (summed.Length == 0 ? values : values.sum(summed), string.Concat(letters.Where(needed.Contains)));
    }

    /// <summary>The product of two operands, with the letters of its axes as they come out.</summary>
    private static (Tensor Product, string Letters) Multiply(Operand lhs, string left, Operand rhs, string right, string kept, Func<Operand, Operand, DotDimensionNumbers, Tensor> multiply)
    {
        string shared = string.Concat(left.Intersect(right).Order());
        string batch = string.Concat(shared.Where(kept.Contains)), contracted = string.Concat(shared.Where(c => !kept.Contains(c)));
        var numbers = new DotDimensionNumbers(Axes(left, contracted), Axes(right, contracted), Axes(left, batch), Axes(right, batch));
        var product = multiply(lhs, rhs, numbers);
        return (product, batch + string.Concat(left.Where(c => !shared.Contains(c))) + string.Concat(right.Where(c => !shared.Contains(c))));

        static int[] Axes(string letters, string named) => [.. named.Select(letter => letters.IndexOf(letter))];
    }
}
