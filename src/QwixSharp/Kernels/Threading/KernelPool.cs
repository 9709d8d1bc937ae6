using System.Diagnostics;
using System.Runtime.ExceptionServices;

namespace QwixSharp.Kernels.Threading;

/// <summary>
/// Runs a <see cref="KernelJob"/> on several threads within a microsecond or two of the call while the pool is hot.
/// </summary>
/// <remarks>
/// Workers spin for a short while after a job and then park. The caller never waits for a worker that has not joined:
/// jobs hand out chunks, so the caller does what a late worker would have done, and closes the job when nothing is left.
/// A second caller that comes while a job runs does its own work alone instead of waiting.
/// <para>
/// libtorch's threads spin for some milliseconds after each of its parallel ops, on the cores that the workers want. So libtorch's own
/// threads do the work, as an <see cref="OpenMpTeam"/>, until jobs come as a <see cref="JobStream"/>: the workers are faster then, since waking
/// libgomp's threads takes three system calls, whether they sleep or not. A model that has parallel ops of libtorch between its products shows in
/// workers that come late; then the pool rests for a while.
/// </para>
/// </remarks>
internal sealed class KernelPool
{
    private const long Open = 1L << 31;
    private const int SeatShift = 16;
    private const long CountMask = 0xFFFF;
    private const long SeatMask = 0x7FFFL << SeatShift;
    private static readonly long SpinTicks = Stopwatch.Frequency / 5000;

    /// <summary>A spinning worker joins within a microsecond, a parked one within some tens, and a chunk takes less than the third.</summary>
    private static readonly long LongAbsence = Stopwatch.Frequency / 50_000, LongWaking = Stopwatch.Frequency / 10_000, LongWait = Stopwatch.Frequency / 2000;

    /// <summary>
    /// Workers that a garbage collection has stopped miss some jobs in a row; those that libtorch's threads hold up, every other. After
    /// a rest these still spin for a while, which means nothing.
    /// </summary>
    private readonly TeamPatience _patience = new(waits: 12, graceMilliseconds: 10);

    private readonly JobStream _stream = new();
    private readonly Lock _growth = new();
    private readonly SemaphoreSlim _parked = new(0);
    private KernelJob? _job;
    private ExceptionDispatchInfo? _failure;
    private long _state; // generation (32 bits), open (1), free seats (15), threads inside (16)
    private int _busy;
    private int _sleeping;
    private int _workers;
    private bool _mayUseOpenMp;

    /// <summary>The pool of the process; it leaves the work to libtorch's own threads while these are in the workers' way.</summary>
    public static KernelPool Shared { get; } = new() { _mayUseOpenMp = true };

    /// <summary>Whether its workers came late of late.</summary>
    internal bool Rests => _patience.Rests;

    /// <summary>Runs the job to its end.</summary>
    /// <param name="job">The work.</param>
    /// <param name="threads">How many threads may take part, the caller included; 1 runs it on the caller alone.</param>
    public void Run(KernelJob job, int threads)
    {
        threads = Math.Min(threads, 1024);
        if (threads <= 1)
        {
            job.Run(0);
            return;
        }
        var isStream = _stream.Begin(Stopwatch.GetTimestamp());
        try
        {
            RunOn(job, threads, isStream);
        }
        finally
        {
            _stream.End(Stopwatch.GetTimestamp());
        }
    }

    private void RunOn(KernelJob job, int threads, bool isStream)
    {
        if ((Rests || !isStream) && TryOpenMp(job, threads))
            return;
        if (Interlocked.Exchange(ref _busy, 1) != 0)
        {
            if (!TryOpenMp(job, threads))
                job.Run(0);
            return;
        }
        try
        {
            EnsureWorkers(threads - 1);
            RunShared(job, threads - 1);
        }
        finally
        {
            _job = null;
            Volatile.Write(ref _busy, 0);
        }
        var failure = Interlocked.Exchange(ref _failure, null);
        failure?.Throw();
    }

    private bool TryOpenMp(KernelJob job, int threads)
    {
        if (!_mayUseOpenMp || !OpenMpTeam.IsAvailable || OpenMpTeam.Rests)
            return false;
        OpenMpTeam.Run(job, threads);
        return true;
    }

    private void RunShared(KernelJob job, int helpers)
    {
        _job = job;
        var generation = (uint)(Volatile.Read(ref _state) >> 32) + 1;
        Interlocked.Exchange(ref _state, (long)generation << 32 | Open | (long)helpers << SeatShift);
        var sleeping = Volatile.Read(ref _sleeping);
        var toWake = Math.Min(sleeping, helpers) - _parked.CurrentCount;
        if (toWake > 0)
            _parked.Release(toWake);
        var began = Stopwatch.GetTimestamp();
        try
        {
            job.Run(0);
        }
        finally
        {
            var closed = Interlocked.And(ref _state, ~Open);
            var worked = Stopwatch.GetTimestamp();
            var spins = 0;
            while ((Volatile.Read(ref _state) & CountMask) != 0)
            {
                if (++spins < 4000)
                    Thread.SpinWait(1);
                else
                    Thread.Yield();
            }
            var isAbsent = (closed & SeatMask) >> SeatShift == helpers && worked - began >= (sleeping == 0 ? LongAbsence : LongWaking);
            _patience.Judge(isAbsent || TeamPatience.IsLong(Stopwatch.GetTimestamp() - worked, worked - began, LongWait));
        }
    }

    private void EnsureWorkers(int count)
    {
        if (Volatile.Read(ref _workers) >= count)
            return;
        lock (_growth)
        {
            while (_workers < count)
            {
                // One is enough to keep memory busy.
                var ahead = _workers == 0 ? new ReadAhead() : null;
                new Thread(() => Loop(ahead)) { IsBackground = true, Name = $"QwixSharp kernels {_workers + 1}" }.Start();
                _workers++;
            }
        }
    }

    private void Loop(ReadAhead? ahead)
    {
        uint seen = 0;
        var idleSince = Stopwatch.GetTimestamp();
        var spins = 0;
        while (true)
        {
            var state = Volatile.Read(ref _state);
            if (IsJoinable(state, seen))
            {
                if (Interlocked.CompareExchange(ref _state, state + 1 - (1L << SeatShift), state) != state)
                    continue;
                seen = (uint)(state >> 32);
                Work((int)((state & SeatMask) >> SeatShift), ahead);
                ahead?.Settle();
                idleSince = Stopwatch.GetTimestamp();
                continue;
            }
            if (ahead?.Step() != true)
                Thread.SpinWait(1);
            if ((++spins & 63) != 0 || Stopwatch.GetTimestamp() - idleSince < SpinTicks)
                continue;
            Interlocked.Increment(ref _sleeping);
            if (!IsJoinable(Volatile.Read(ref _state), seen))
                _parked.Wait();
            Interlocked.Decrement(ref _sleeping);
            idleSince = Stopwatch.GetTimestamp();
        }
    }

    private static bool IsJoinable(long state, uint seen) =>
        (state & Open) != 0 && (state & SeatMask) != 0 && (uint)(state >> 32) != seen;

    private void Work(int worker, ReadAhead? ahead)
    {
        try
        {
            var job = _job!;
            job.Run(worker);
            if (ahead is not null)
                job.NoteReads(ahead);
        }
        catch (Exception e)
        {
            Interlocked.CompareExchange(ref _failure, ExceptionDispatchInfo.Capture(e), null);
        }
        finally
        {
            Interlocked.Decrement(ref _state);
        }
    }
}
