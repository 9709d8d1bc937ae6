using QwixSharp.Kernels.Threading;

namespace QwixSharp.Kernels.Passes;

/// <summary>Does something with every row of an array, some rows at a time.</summary>
/// <param name="rows">How many rows.</param>
/// <param name="work">Does one row.</param>
internal sealed class RowsJob(long rows, Action<long> work) : KernelJob
{
    private readonly long _chunk = Math.Clamp(rows / 64, 1, 64);
    private long _next;

    /// <summary>Runs over all rows.</summary>
    /// <param name="rows">How many rows.</param>
    /// <param name="elements">The elements of a row; little work stays on the caller.</param>
    /// <param name="threads">How many threads take part.</param>
    /// <param name="work">Does one row.</param>
    public static void Run(long rows, long elements, int threads, Action<long> work) =>
        KernelPool.Shared.Run(new RowsJob(rows, work), rows * elements < 32 << 10 ? 1 : threads);

    /// <inheritdoc/>
    public override void Run(int worker)
    {
        while (true)
        {
            var from = Interlocked.Add(ref _next, _chunk) - _chunk;
            if (from >= rows)
                return;
            for (var row = from; row < Math.Min(rows, from + _chunk); row++)
                work(row);
        }
    }
}
