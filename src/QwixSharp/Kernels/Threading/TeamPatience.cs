using System.Diagnostics;

namespace QwixSharp.Kernels.Threading;

/// <summary>Decides when waits for a team's last thread are long and frequent enough that the team had better rest.</summary>
internal sealed class TeamPatience
{
    private const int ShortestRestMilliseconds = 50;
    private const int LongestRestMilliseconds = 2000;

    /// <summary>A long wait counts as much as so many runs without one.</summary>
    private const int AnnoyanceOfWait = 16, MostAnnoyance = 3 * AnnoyanceOfWait - 8;

    /// <summary>A wait that no chunk of work explains.</summary>
    private static readonly long LongWait = Stopwatch.Frequency / 500;

    private long _restsUntil;
    private int _rest = ShortestRestMilliseconds;
    private int _annoyance;

    /// <summary>Whether the team rests.</summary>
    public bool Rests => Environment.TickCount64 < Volatile.Read(ref _restsUntil);

    /// <summary>Lets the team rest after three long waits in few runs, and then after each, longer each time; runs without one are forgiving.</summary>
    /// <param name="waited">How long the caller waited for the others when it had nothing left to do, in <see cref="Stopwatch"/> ticks.</param>
    /// <param name="worked">How long it had worked.</param>
    public void Judge(long waited, long worked)
    {
        if (waited < LongWait || waited < worked / 2)
        {
            if (_annoyance > 0 && --_annoyance == 0)
                _rest = ShortestRestMilliseconds;
            return;
        }
        _annoyance = Math.Min(_annoyance + AnnoyanceOfWait, MostAnnoyance);
        if (_annoyance < MostAnnoyance)
            return;
        Volatile.Write(ref _restsUntil, Environment.TickCount64 + _rest);
        _rest = Math.Min(2 * _rest, LongestRestMilliseconds);
    }
}
