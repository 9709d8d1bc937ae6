namespace QwixSharp.Kernels.Threading;

/// <summary>Decides when waits for a team's threads are long and frequent enough that the team had better rest.</summary>
/// <param name="waits">After how many long waits in few runs.</param>
/// <param name="graceMilliseconds">For how long after a rest waits do not count.</param>
internal sealed class TeamPatience(int waits, int graceMilliseconds = 0)
{
    private const int ShortestRestMilliseconds = 50;
    private const int LongestRestMilliseconds = 2000;

    /// <summary>A long wait counts as much as so many runs without one.</summary>
    private const int AnnoyanceOfWait = 16;

    private readonly int _mostAnnoyance = waits * AnnoyanceOfWait - AnnoyanceOfWait / 2;
    private long _restsUntil;
    private int _rest = ShortestRestMilliseconds;
    private int _annoyance;

    /// <summary>Whether the team rests.</summary>
    public bool Rests => Environment.TickCount64 < Volatile.Read(ref _restsUntil);

    /// <summary>Whether a wait is longer than the work explains.</summary>
    /// <param name="waited">How long the caller waited for the others when it had nothing left to do.</param>
    /// <param name="worked">How long it had worked.</param>
    /// <param name="least">Shorter waits are none.</param>
    public static bool IsLong(long waited, long worked, long least) => waited >= least && waited >= worked / 2;

    /// <summary>Lets the team rest after so many long waits in few runs, then after half as many, longer each time; runs without one are forgiving.</summary>
    /// <param name="isLong">Whether the caller had to wait, or to do without the others, longer than the work explains.</param>
    public void Judge(bool isLong)
    {
        if (!isLong)
        {
            if (_annoyance > 0 && --_annoyance == 0)
                _rest = ShortestRestMilliseconds;
            return;
        }
        var now = Environment.TickCount64;
        if (now < _restsUntil + graceMilliseconds)
            return;
        _annoyance += AnnoyanceOfWait;
        if (_annoyance < _mostAnnoyance)
            return;
        _annoyance = _mostAnnoyance / 2;
        Volatile.Write(ref _restsUntil, now + _rest);
        _rest = Math.Min(2 * _rest, LongestRestMilliseconds);
    }
}
