namespace QwixSharp.Benchmarks.Products;

/// <summary>Runs candidates in turn for some rounds, so that what else the machine does meets all of them alike.</summary>
/// <param name="processorTime">
/// Whether to measure the processor time of the calling thread instead of the time that passes: for candidates of one thread
/// on a machine that has other work to do. Linux alone.
/// </param>
internal sealed class Race(bool processorTime)
{
    private const int Rounds = 15;

    private readonly List<(string Name, Action Run, List<double> Times)> _candidates = [];

    public void Add(string name, Action run) => _candidates.Add((name, run, []));

    /// <summary>The median milliseconds of each candidate, and the least, which other work on the machine disturbs less.</summary>
    public IReadOnlyList<(string Name, double Median, double Least)> Run()
    {
        for (var round = -2; round < Rounds; round++)
            foreach (var (_, run, times) in _candidates)
            {
                // The candidate's threads wake and its caches fill before it is measured.
                run();
                var repeats = new double[3];
                for (var i = 0; i < repeats.Length; i++)
                {
                    var start = Clock.Milliseconds(processorTime);
                    run();
                    repeats[i] = Clock.Milliseconds(processorTime) - start;
                }
                if (round >= 0)
                    times.AddRange(repeats);
                Thread.Sleep(1);
            }
        return [.. _candidates.Select(c => (c.Name, Median(c.Times), c.Times.Min()))];
    }

    private static double Median(IEnumerable<double> times)
    {
        double[] sorted = [.. times.Order()];
        return sorted[sorted.Length / 2];
    }
}
