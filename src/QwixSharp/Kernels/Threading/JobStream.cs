using System.Diagnostics;

namespace QwixSharp.Kernels.Threading;

/// <summary>Whether jobs have come one after another for some time. What else runs between them then takes little time, or is another job.</summary>
/// <remarks>
/// Threads of libgomp spin for some milliseconds after other work of theirs. A job that comes after a pause had better be theirs; in a
/// stream they have gone to sleep.
/// </remarks>
internal sealed class JobStream
{
    private static readonly long Pause = Stopwatch.Frequency / 500, Least = Stopwatch.Frequency / 100;

    private long _lastEnd = long.MinValue / 2;
    private long _since;

    /// <summary>Whether a job that begins now is in a stream.</summary>
    /// <param name="now">The time, in ticks of <see cref="Stopwatch"/>.</param>
    public bool Begin(long now)
    {
        if (now - Volatile.Read(ref _lastEnd) > Pause)
            Volatile.Write(ref _since, now);
        return now - Volatile.Read(ref _since) >= Least;
    }

    /// <summary>A job has ended.</summary>
    /// <param name="now">The time, in ticks of <see cref="Stopwatch"/>.</param>
    public void End(long now) => Volatile.Write(ref _lastEnd, now);
}
