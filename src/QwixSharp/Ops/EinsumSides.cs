namespace QwixSharp.Ops;

/// <summary>Which operand of an einsum is the left one of the product that it becomes.</summary>
internal static class EinsumSides
{
    /// <summary>
    /// Whether the reference multiplies the second operand with the first: it does, unless the other order gives the axes of
    /// the result without a transposition. Statistics and the settings of gradients are named after these sides.
    /// </summary>
    /// <param name="equation">An equation of two operands.</param>
    /// <param name="firstRank">The number of axes of the first operand.</param>
    /// <param name="secondRank">The number of axes of the second.</param>
    /// <exception cref="ArgumentException">The equation is malformed or does not fit the ranks.</exception>
    internal static bool AreExchanged(string equation, int firstRank, int secondRank)
    {
        var parsed = EinsumEquation.Parse(equation, firstRank, secondRank);
        var (first, second, output) = (parsed.Inputs[0], parsed.Inputs[1], parsed.Output);
        var batch = output.Where(c => first.Contains(c) && second.Contains(c));
        var free = first.Where(c => !second.Contains(c) && output.Contains(c)).Concat(second.Where(c => !first.Contains(c) && output.Contains(c)));
        return !batch.Concat(free).SequenceEqual(output);
    }

    /// <summary>The equation with its operands in the other order, every axis named and the output explicit.</summary>
    /// <param name="equation">An equation of two operands.</param>
    /// <param name="firstRank">The number of axes of the first operand.</param>
    /// <param name="secondRank">The number of axes of the second.</param>
    internal static string Exchange(string equation, int firstRank, int secondRank)
    {
        var parsed = EinsumEquation.Parse(equation, firstRank, secondRank);
        return $"{parsed.Inputs[1]},{parsed.Inputs[0]}->{parsed.Output}";
    }
}
