using System.Diagnostics;

namespace QwixSharp.Kernels.Threading;

/// <summary>Whether jobs have come one after another for some time. What else runs between them then takes little time, or is another job.</summary>
/// <remarks>
/// Threads of libgomp spin for some milliseconds after other work of theirs. A job that comes after a pause had better be theirs; in a
/// stream they have gone to sleep. The few jobs of one long product are none, however long they take: the last of them would meet threads
/// that spin after the first, and what a region of libgomp costs to start does not matter to them.
/// </remarks>
internal sealed class JobStream
{
    private static readonly long Pause = Stopwatch.Frequency / 500, Least = Stopwatch.Frequency / 100;

    private const int LeastJobs = 48;

    private long _lastEnd = long.MinValue / 2;
    private long _since;
    private int _jobs;

    /// <summary>Whether a job that begins now is in a stream.</summary>
    /// <param name="now">The time, in ticks of <see cref="Stopwatch"/>.</param>
    public bool Begin(long now)
    {
        if (now - Volatile.Read(ref _lastEnd) > Pause)
        {
            Volatile.Write(ref _since, now);
            Volatile.Write(ref _jobs, 0);
        }
        var jobs = Volatile.Read(ref _jobs);
        if (jobs < LeastJobs)
            Volatile.Write(ref _jobs, jobs + 1);
        return jobs >= LeastJobs && now - Volatile.Read(ref _since) >= Least;
    }

    /// <summary>A job has ended.</summary>
    /// <param name="now">The time, in ticks of <see cref="Stopwatch"/>.</param>
    public void End(long now) => Volatile.Write(ref _lastEnd, now);
}
