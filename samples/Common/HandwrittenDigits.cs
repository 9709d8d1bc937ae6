using System.Globalization;
using static TorchSharp.torch;

namespace QwixSharp.Samples.Common;

/// <summary>Handwritten digits, 8×8 pixels from 0 (paper) to 16 (ink); see <c>data/README.md</c>.</summary>
/// <param name="Labels">int64, <c>[images]</c>: the digit that each image shows.</param>
/// <param name="Pixels">float32, <c>[images, 1, 8, 8]</c>.</param>
public sealed record HandwrittenDigits(Tensor Labels, Tensor Pixels)
{
    /// <summary>The value of a pixel that is all ink.</summary>
    public const float Ink = 16;

    private const int Side = 8;
    private const int PartOfTest = 5;

    /// <summary>Reads all digits: every fifth is for testing, beginning with the first.</summary>
    /// <returns>The digits to learn from and those to test with, in the order of the file.</returns>
    public static (HandwrittenDigits Training, HandwrittenDigits Test) Read()
    {
        var rows = File.ReadLines(Path.Combine(AppContext.BaseDirectory, "data", "digits.csv")).Skip(1)
            .Select(line => Array.ConvertAll(line.Split(','), cell => int.Parse(cell, CultureInfo.InvariantCulture)))
            .ToList();
        return (Of(rows.Where((_, i) => !IsTest(i))), Of(rows.Where((_, i) => IsTest(i))));
    }

    /// <summary>The first so many images of each digit, in the order of the file.</summary>
    public HandwrittenDigits FirstOfEach(int count)
    {
        var labels = Labels.data<long>().ToArray();
        var seen = new int[10];
        long[] chosen = [.. Enumerable.Range(0, labels.Length).Where(i => seen[labels[i]]++ < count)];
        using var indices = tensor(chosen);
        return new(Labels.index_select(0, indices), Pixels.index_select(0, indices));
    }

    private static bool IsTest(int row) => row % PartOfTest == 0;

    private static HandwrittenDigits Of(IEnumerable<int[]> rows)
    {
        var all = rows.ToList();
        return new(
            tensor(all.Select(r => (long)r[0]).ToArray()),
            tensor(all.SelectMany(r => r.Skip(1)).Select(p => (float)p).ToArray(), [all.Count, 1, Side, Side]));
    }
}
