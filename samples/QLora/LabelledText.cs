namespace QwixSharp.Samples.QLora;

/// <summary>A text and the number of its label.</summary>
internal readonly record struct LabelledText(int Label, string Text);

/// <summary>A task of text classification.</summary>
/// <param name="Labels">The labels by their numbers.</param>
/// <param name="Training">What is learnt from.</param>
/// <param name="Test">What the accuracy is measured on.</param>
internal sealed record TextTask(IReadOnlyList<string> Labels, IReadOnlyList<LabelledText> Training, IReadOnlyList<LabelledText> Test)
{
    private const int TestEvery = 5;

    /// <summary>Reads a file with a label, a tab and a text on each line; every fifth line is for the test.</summary>
    /// <exception cref="InvalidDataException">A line has no tab, or there are fewer than two labels.</exception>
    public static TextTask FromFile(string path)
    {
        var rows = File.ReadLines(path).Select((line, i) => (Line: line, Number: i + 1)).Where(row => row.Line.Length > 0).Select(row =>
        {
            int tab = row.Line.IndexOf('\t');
            return tab > 0 ? (Label: row.Line[..tab], Text: row.Line[(tab + 1)..]) : throw new InvalidDataException($"{path}, line {row.Number}: there is no tab between a label and a text.");
        }).ToList();
        string[] labels = [.. rows.Select(r => r.Label).Distinct().Order(StringComparer.Ordinal)];
        if (labels.Length < 2 || rows.Count < TestEvery)
            throw new InvalidDataException($"{path} has {rows.Count} texts with {labels.Length} labels; at least {TestEvery} texts and two labels are needed.");
        var texts = rows.Select(r => new LabelledText(Array.IndexOf(labels, r.Label), r.Text)).ToList();
        return new TextTask(labels, [.. texts.Where((_, i) => i % TestEvery != 0)], [.. texts.Where((_, i) => i % TestEvery == 0)]);
    }
}
