using QwixSharp.Kernels.Threading;

namespace QwixSharp.Kernels.Passes;

/// <summary>Does something with every row of an array, some rows at a time.</summary>
/// <param name="rows">How many rows.</param>
/// <param name="together">Rows of which one thread does so many, or a multiple, in order.</param>
/// <param name="work">Does one row.</param>
internal sealed class RowsJob(long rows, long together, Action<long> work) : KernelJob
{
    /// <summary>The elements of a part: small enough for the first-level cache, and a multiple of what a byte of bits is for.</summary>
    private const long Part = 4096;

    private readonly long _chunk = (Math.Clamp(rows / 64, 1, 64) + together - 1) / together * together;
    private long _next;

    /// <summary>Runs over all rows.</summary>
    /// <param name="rows">How many rows.</param>
    /// <param name="elements">The elements of a row; little work stays on the caller.</param>
    /// <param name="threads">How many threads take part.</param>
    /// <param name="work">Does one row.</param>
    /// <param name="together">Rows of which one thread does so many, or a multiple, in order.</param>
    public static void Run(long rows, long elements, int threads, Action<long> work, long together = 1) =>
        KernelPool.Shared.Run(new RowsJob(rows, together, work), rows * elements < 32 << 10 ? 1 : threads);

    /// <summary>Runs over all elements of a matrix whose tiles need nothing of each other, in parts of a tile each.</summary>
    /// <param name="shape">The sizes.</param>
    /// <param name="threads">How many threads take part.</param>
    /// <param name="work">
    /// Does a part: its first element, its length, and the number of its tile. The elements of a byte of bits, eight that follow
    /// a multiple of eight, are one thread's, in order.
    /// </param>
    public static void RunInParts(RowShape shape, int threads, Action<long, long, long> work)
    {
        var count = shape.Rows * shape.Columns;
        Run((count + Part - 1) / Part, Part, threads, part =>
        {
            var end = Math.Min(count, (part + 1) * Part);
            for (var from = part * Part; from < end;)
            {
                var (tile, tileEnd) = shape.TileOf(from);
                var length = Math.Min(end, tileEnd) - from;
                work(from, length, tile);
                from += length;
            }
        });
    }

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
