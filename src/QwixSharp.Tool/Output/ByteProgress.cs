using QwixSharp.Checkpoints;
using Spectre.Console;

namespace QwixSharp.Tool.Output;

/// <summary>Moves a bar as bytes are done; without a bar it does nothing. Safe for several threads.</summary>
internal sealed class ByteProgress(ProgressTask? bar) : IProgress<CheckpointProgress>
{
    /// <summary>Some bytes more are done.</summary>
    internal void Add(long bytes) => bar?.Increment(bytes);

    /// <inheritdoc/>
    public void Report(CheckpointProgress value)
    {
        if (bar is not null)
            bar.Value = Math.Max(bar.Value, value.BytesDone);
    }
}
