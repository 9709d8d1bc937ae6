using System.Runtime.CompilerServices;

namespace QwixSharp.Kernels.Threading;

/// <summary>
/// Units of work that threads take one by one. Each thread has a range of its own, the same in every run, so that it finds in its
/// core's cache what it wrote in the run before; when that is done, it takes from the others.
/// </summary>
internal sealed class SharedWork
{
    /// <summary>Counters of two ranges lie in lines of the cache that are not fetched together.</summary>
    private const int Spacing = 16;

    private long[] _next = [];
    private int _ranges;
    private int _units;
    private int _done;

    /// <summary>Starts over.</summary>
    /// <param name="units">How many units there are.</param>
    /// <param name="threads">How many threads will take them.</param>
    public void Begin(int units, int threads)
    {
        (_units, _ranges, _done) = (units, threads, 0);
        if (_next.Length < (threads + 1) * Spacing)
            _next = new long[(threads + 1) * Spacing];
        for (var range = 0; range < threads; range++)
            Volatile.Write(ref _next[(range + 1) * Spacing], Start(range));
    }

    /// <summary>Takes a unit if one is left.</summary>
    /// <param name="worker">The number of the thread.</param>
    /// <param name="unit">The unit.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public bool Take(int worker, out int unit)
    {
        for (var i = 0; i < _ranges; i++)
        {
            var range = (worker + i) % _ranges;
            ref var next = ref _next[(range + 1) * Spacing];
            var end = Start(range + 1);
            if (Volatile.Read(ref next) >= end)
                continue;
            unit = (int)Interlocked.Increment(ref next) - 1;
            if (unit < end)
                return true;
        }
        unit = 0;
        return false;
    }

    /// <summary>Tells that a unit is done, for <see cref="Wait"/>.</summary>
    public void Finish() => Interlocked.Increment(ref _done);

    /// <summary>Waits until all units are done that others have taken.</summary>
    public void Wait()
    {
        for (var spins = 0; Volatile.Read(ref _done) < _units; spins++)
        {
            if (spins < 4000)
                Thread.SpinWait(1);
            else
                Thread.Yield();
        }
    }

    private long Start(int range) => (long)_units * range / _ranges;
}
