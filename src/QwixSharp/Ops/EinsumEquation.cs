namespace QwixSharp.Ops;

/// <summary>
/// An einsum equation with every axis named by a letter: an ellipsis is written out for the ranks at hand, and the
/// output is explicit.
/// </summary>
internal sealed class EinsumEquation
{
    private const string Letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

    private EinsumEquation(string[] inputs, string output)
    {
        Inputs = inputs;
        Output = output;
    }

    /// <summary>The letters of each operand's axes.</summary>
    internal string[] Inputs { get; }

    /// <summary>The letters of the result's axes.</summary>
    internal string Output { get; }

    /// <summary>Reads an equation.</summary>
    /// <param name="text">Such as <c>"...d,dh->...h"</c>; without an arrow, the letters named once, in alphabetical order.</param>
    /// <param name="ranks">The number of axes of each operand.</param>
    /// <exception cref="ArgumentException">The equation is malformed or does not fit the ranks.</exception>
    internal static EinsumEquation Parse(string text, params ReadOnlySpan<int> ranks)
    {
        ArgumentNullException.ThrowIfNull(text);
        var sides = text.Replace(" ", "").Split("->");
        var terms = sides[0].Split(',');
        if (sides.Length > 2)
            throw Invalid(text, "it has more than one arrow");
        if (terms.Length != ranks.Length)
            throw Invalid(text, $"it has {terms.Length} operands, but {ranks.Length} are given");
        var dots = WriteOutEllipses(text, terms, ranks);
        string output = sides.Length == 2 ? sides[1].Replace("...", dots) : ImplicitOutput(terms, dots);
        CheckLetters(text, output);
        if (output.Distinct().Count() != output.Length)
            throw Invalid(text, "its output names an index twice");
        if (output.FirstOrDefault(letter => !terms.Any(t => t.Contains(letter))) is var unknown and not '\0')
            throw Invalid(text, $"no operand has the index '{unknown}' of its output");
        return new EinsumEquation(terms, output);
    }

    /// <summary>Puts letters for the ellipses into the terms, aligned at the right; returns the letters of the longest.</summary>
    private static string WriteOutEllipses(string text, string[] terms, ReadOnlySpan<int> ranks)
    {
        var lengths = new int[terms.Length];
        for (int i = 0; i < terms.Length; i++)
        {
            string named = terms[i].Replace("...", "");
            CheckLetters(text, named);
            bool hasEllipsis = terms[i].Contains("...");
            if (terms[i].Length - named.Length > 3)
                throw Invalid(text, $"operand {i} has more than one ellipsis");
            lengths[i] = ranks[i] - named.Length;
            if (lengths[i] < 0 || (lengths[i] > 0 && !hasEllipsis))
                throw Invalid(text, $"operand {i} has {ranks[i]} axes, but '{terms[i]}' names {named.Length}");
        }

        int longest = lengths.Max();
        string dots = string.Concat(Letters.Where(letter => !text.Contains(letter)).Take(longest));
        if (dots.Length < longest)
            throw Invalid(text, "it has more axes than there are letters");
        for (int i = 0; i < terms.Length; i++)
            terms[i] = terms[i].Replace("...", dots[(longest - lengths[i])..]);
        return dots;
    }

    private static string ImplicitOutput(string[] terms, string dots)
    {
        string all = string.Concat(terms);
        return dots + string.Concat(all.Where(letter => !dots.Contains(letter) && all.Count(c => c == letter) == 1).Order());
    }

    private static void CheckLetters(string text, string term)
    {
        if (term.FirstOrDefault(c => !char.IsAsciiLetter(c)) is var wrong and not '\0')
            throw Invalid(text, $"'{wrong}' is not a letter");
    }

    private static ArgumentException Invalid(string text, string why) => new($"The einsum equation \"{text}\" cannot be used: {why}.");
}
