namespace QwixSharp.Benchmarks.Figures;

/// <summary>What a candidate runs once it is made.</summary>
/// <param name="Run">One run.</param>
/// <param name="IsRight">Whether the result of the last run is what it should be.</param>
/// <param name="Dispose">Frees what it holds.</param>
internal sealed record Prepared(Action Run, Func<bool> IsRight, Action Dispose);

/// <summary>Something whose time is measured: ours, or a peer's. It is made when its contest begins.</summary>
/// <param name="name">Its name in the table.</param>
/// <param name="prepare">Makes it.</param>
internal sealed class Candidate(string name, Func<Prepared> prepare)
{
    private static readonly TimeSpan CompiledEnough = TimeSpan.FromSeconds(0.4);

    private readonly List<double> _times = [];
    private Prepared? _prepared;

    public string Name { get; } = name;

    /// <summary>The median of the times, in milliseconds.</summary>
    public double Median => _times.Order().ElementAt(_times.Count / 2);

    /// <summary>Whether its result was right.</summary>
    public bool IsRight { get; private set; }

    public void Begin()
    {
        _prepared = prepare();
        WarmUp.Run(_prepared.Run, fewest: 1, CompiledEnough);
        IsRight = _prepared.IsRight();
    }

    /// <summary>
    /// Runs a turn: once to wake threads and fill caches, then timed, three times when it is short. A run that is long enough
    /// not to feel its start is timed at once.
    /// </summary>
    public void Turn(bool keep)
    {
        var first = Time();
        double[] times = first > 50 ? [first] : first > 5 ? [Time()] : [Time(), Time(), Time()];
        if (keep)
            _times.AddRange(times);
    }

    public void End()
    {
        _prepared!.Dispose();
        _prepared = null;
    }

    private double Time()
    {
        var start = TimeProvider.System.GetTimestamp();
        _prepared!.Run();
        return TimeProvider.System.GetElapsedTime(start).TotalMilliseconds;
    }
}
