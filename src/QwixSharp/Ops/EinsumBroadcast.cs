using QwixSharp.Arrays;

namespace QwixSharp.Ops;

/// <summary>Gives every axis that shares a letter the same length, by repeating axes whose length divides it.</summary>
internal static class EinsumBroadcast
{
    /// <summary>The length of each letter: the longest among the operands.</summary>
    /// <exception cref="ArgumentException">A length does not divide the longest.</exception>
    internal static Dictionary<char, long> Lengths(IReadOnlyList<Operand> operands, string[] inputs)
    {
        var lengths = new Dictionary<char, long>();
        foreach (var (operand, subscripts) in operands.Zip(inputs))
        {
            foreach (var (letter, length) in subscripts.Zip(operand.Shape))
                lengths[letter] = Math.Max(lengths.GetValueOrDefault(letter), length);
        }

        for (int i = 0; i < inputs.Length; i++)
        {
            foreach (var (letter, length) in inputs[i].Zip(operands[i].Shape))
            {
                if (length != lengths[letter] && (length == 0 || lengths[letter] % length != 0))
                    throw new ArgumentException($"Index '{letter}' has length {length} in operand {i} {HowToQuantize.Format(operands[i].Shape)} ({inputs[i]}), which does not divide its length {lengths[letter]} in another operand.");
            }
        }

        return lengths;
    }

    /// <summary>The operand in the shape that the lengths of its letters give: itself where that is its own.</summary>
    internal static Operand Apply(Operand operand, string subscripts, Dictionary<char, long> lengths)
    {
        long[] target = [.. subscripts.Select(letter => lengths[letter])];
        if (operand.Shape.SequenceEqual(target))
            return operand;
        return operand.QArray is { } array ? array.BroadcastTo(target) : GenericBroadcast.Expand(operand.Tensor!, target);
    }
}
