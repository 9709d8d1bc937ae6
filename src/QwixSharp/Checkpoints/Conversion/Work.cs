using System.Runtime.ExceptionServices;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Conversion;

/// <summary>Goes through tensors with all processors.</summary>
internal static class Work
{
    /// <summary>Calls a function on each tensor, several at once.</summary>
    internal static void ForEach(IReadOnlyList<LogicalTensor> tensors, Action<LogicalTensor> write, IProgress<CheckpointProgress>? progress, CancellationToken cancellation)
    {
        long total = tensors.Sum(Bytes), done = 0;
        try
        {
            Parallel.ForEach(tensors, new ParallelOptions { CancellationToken = cancellation, MaxDegreeOfParallelism = Environment.ProcessorCount }, tensor =>
            {
                using var noGrad = no_grad();
                using var scope = NewDisposeScope();
                write(tensor);
                progress?.Report(new CheckpointProgress(tensor.Name, Interlocked.Add(ref done, Bytes(tensor)), total));
            });
        }
        catch (AggregateException error)
        {
            ExceptionDispatchInfo.Throw(error.InnerExceptions[0]);
        }
    }

    private static long Bytes(LogicalTensor tensor) => tensor.Stored.Sum(s => s.ByteLength);
}
