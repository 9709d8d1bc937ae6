using System.Diagnostics;

namespace QwixSharp.Samples.Common;

/// <summary>Wall-clock times of repeated work.</summary>
public sealed class Timing
{
    private readonly List<double> _milliseconds = [];

    /// <summary>The median of the times so far, in milliseconds; robust against a few disturbed runs.</summary>
    /// <exception cref="InvalidOperationException">Nothing has been timed.</exception>
    public double Median
    {
        get
        {
            if (_milliseconds.Count == 0)
                throw new InvalidOperationException("Nothing has been timed yet.");
            var sorted = _milliseconds.Order().ToArray();
            var middle = sorted.Length / 2;
            return sorted.Length % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
        }
    }

    /// <summary>Runs the work once and keeps its time, divided by the number of items that it worked on.</summary>
    public T Run<T>(Func<T> work, int items = 1)
    {
        var start = Stopwatch.GetTimestamp();
        var result = work();
        _milliseconds.Add(Stopwatch.GetElapsedTime(start).TotalMilliseconds / items);
        return result;
    }
}
