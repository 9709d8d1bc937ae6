using System.Collections.Concurrent;
using System.Runtime.ExceptionServices;

namespace QwixSharp.Checkpoints;

/// <summary>Large pieces of work, each taken by a thread when it is free.</summary>
internal static class ParallelWork
{
    /// <summary>Does the work. The first failure stops it and is thrown as it is.</summary>
    /// <exception cref="OperationCanceledException">It was cancelled.</exception>
    internal static void Run<T>(IEnumerable<T> pieces, int threads, CancellationToken cancellation, Action<T> work)
    {
        try
        {
            Parallel.ForEach(
                Partitioner.Create(pieces, EnumerablePartitionerOptions.NoBuffering),
                new ParallelOptions { MaxDegreeOfParallelism = Math.Max(threads, 1), CancellationToken = cancellation },
                work);
        }
        catch (AggregateException error)
        {
            ExceptionDispatchInfo.Throw(error.InnerExceptions[0]);
        }
    }
}
