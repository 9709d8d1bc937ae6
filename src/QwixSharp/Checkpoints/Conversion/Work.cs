using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Conversion;

/// <summary>Goes through tensors with all processors.</summary>
internal static class Work
{
    /// <summary>Calls a function on each tensor, several at once.</summary>
    internal static void ForEach(IReadOnlyList<LogicalTensor> tensors, Action<LogicalTensor> write, IProgress<CheckpointProgress>? progress, CancellationToken cancellation)
    {
        long total = tensors.Sum(t => t.ByteLength), done = 0;
        ParallelWork.Run(tensors, Environment.ProcessorCount, cancellation, tensor =>
        {
            using var noGrad = no_grad();
            using var scope = NewDisposeScope();
            write(tensor);
            progress?.Report(new CheckpointProgress(tensor.Name, Interlocked.Add(ref done, tensor.ByteLength), total));
        });
    }
}
