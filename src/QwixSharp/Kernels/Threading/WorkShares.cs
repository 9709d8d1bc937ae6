namespace QwixSharp.Kernels.Threading;

/// <summary>
/// Units of work split evenly among threads. Each takes its own share in chunks, and then what is left of others' shares.
/// </summary>
/// <remarks>
/// A counter that all threads share moves from core to core with every chunk, which takes as long as a chunk of a small
/// product. Here each thread counts on a cache line of its own until its share is done, and meets the same units, and so the
/// same memory, whenever the work is repeated.
/// </remarks>
internal sealed unsafe class WorkShares
{
    /// <summary>Two lines, since processors fetch them in pairs.</summary>
    private const int Stride = 128 / sizeof(int);

    private readonly Workspace _memory = new();
    private int* _shares;
    private int _workers;
    private int _chunk;

    /// <summary>Hands out units anew; no thread may be taking any.</summary>
    /// <param name="units">How many there are.</param>
    /// <param name="workers">How many threads share them, numbered from 0. Any other thread finds its units among theirs.</param>
    /// <param name="chunk">The most that <see cref="Take"/> gives at once.</param>
    public void Begin(int units, int workers, int chunk)
    {
        _shares = (int*)_memory.Reserve((long)workers * Stride * sizeof(int));
        _workers = workers;
        _chunk = chunk;
        for (var worker = 0; worker < workers; worker++)
        {
            _shares[worker * Stride] = (int)((long)units * worker / workers);
            _shares[worker * Stride + 1] = (int)((long)units * (worker + 1) / workers);
        }
    }

    /// <summary>Takes the next units for a thread: from its own share while that lasts.</summary>
    /// <param name="worker">The thread's number.</param>
    /// <param name="from">The first unit.</param>
    /// <param name="to">The end of the units.</param>
    /// <returns>Whether any were left.</returns>
    public bool Take(int worker, out int from, out int to)
    {
        for (var i = 0; i < _workers; i++)
        {
            var share = _shares + (uint)(worker + i) % (uint)_workers * Stride;
            var end = share[1];
            if (Volatile.Read(ref share[0]) >= end)
                continue;
            from = Interlocked.Add(ref share[0], _chunk) - _chunk;
            to = Math.Min(end, from + _chunk);
            if (from < end)
                return true;
        }
        from = to = 0;
        return false;
    }
}
