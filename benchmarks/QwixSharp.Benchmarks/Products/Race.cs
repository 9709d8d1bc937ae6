using System.Diagnostics;

namespace QwixSharp.Benchmarks.Products;

/// <summary>Runs candidates in turn for some rounds, so that what else the machine does meets all of them alike.</summary>
internal sealed class Race
{
    private const int Rounds = 15;

    private readonly List<(string Name, Action Run, List<double> Times)> _candidates = [];

    public void Add(string name, Action run) => _candidates.Add((name, run, []));

    /// <summary>The median milliseconds of each candidate.</summary>
    public IReadOnlyList<(string Name, double Milliseconds)> Run()
    {
        for (var round = -2; round < Rounds; round++)
            foreach (var (_, run, times) in _candidates)
            {
                // The candidate's threads wake and its caches fill before it is measured.
                run();
                var repeats = new double[3];
                for (var i = 0; i < repeats.Length; i++)
                {
                    var start = Stopwatch.GetTimestamp();
                    run();
                    repeats[i] = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
                }
                if (round >= 0)
                    times.Add(Median(repeats));
                Thread.Sleep(1);
            }
        return [.. _candidates.Select(c => (c.Name, Median(c.Times)))];
    }

    private static double Median(IEnumerable<double> times)
    {
        double[] sorted = [.. times.Order()];
        return sorted[sorted.Length / 2];
    }
}
