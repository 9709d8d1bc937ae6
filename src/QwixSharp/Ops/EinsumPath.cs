namespace QwixSharp.Ops;

/// <summary>The order in which operands are contracted, two at a time, by a greedy choice.</summary>
internal static class EinsumPath
{
    /// <summary>
    /// The next two operands: a pair that shares an index, whose product takes the least memory beyond what its operands
    /// take, then the fewest multiplications (the cost of opt_einsum's greedy path).
    /// </summary>
    internal static (int First, int Second) Next(IReadOnlyList<string> inputs, string output, Dictionary<char, long> lengths)
    {
        var pairs =
            from first in Enumerable.Range(0, inputs.Count)
            from second in Enumerable.Range(first + 1, inputs.Count - first - 1)
            let kept = Kept(inputs, output, first, second)
            orderby !inputs[first].Intersect(inputs[second]).Any(),
                Size(kept) - Size(inputs[first]) - Size(inputs[second]),
                Size(inputs[first].Union(inputs[second]))
            select (first, second);
        return pairs.First();

        double Size(IEnumerable<char> letters) => letters.Aggregate(1.0, (size, letter) => size * lengths[letter]);
    }

    /// <summary>The letters that the product of two operands keeps: those that the output or another operand needs.</summary>
    internal static string Kept(IReadOnlyList<string> inputs, string output, int first, int second)
    {
        var needed = inputs.Where((_, i) => i != first && i != second).SelectMany(letters => letters).Concat(output).ToHashSet();
        return string.Concat(inputs[first].Union(inputs[second]).Where(needed.Contains));
    }
}
