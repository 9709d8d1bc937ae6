namespace QwixSharp.Tool.Analysis;

/// <summary>How often values fall into bins of one width between −<see cref="Bound"/> and <see cref="Bound"/>; what lies outside is in the outermost bins.</summary>
internal sealed class Histogram(float bound, int bins)
{
    private readonly long[] _counts = new long[bins];

    /// <summary>The end of the last bin.</summary>
    internal float Bound => bound;

    /// <summary>The counts, from the most negative bin on.</summary>
    internal IReadOnlyList<long> Counts => _counts;

    /// <summary>Counts values; those that are not numbers are left out.</summary>
    internal void Add(ReadOnlySpan<float> values)
    {
        double perBin = bound > 0 ? _counts.Length / (2.0 * bound) : 0;
        foreach (float value in values)
        {
            if (!float.IsNaN(value))
                _counts[(int)Math.Clamp((value + (double)bound) * perBin, 0, _counts.Length - 1)]++;
        }
    }
}
