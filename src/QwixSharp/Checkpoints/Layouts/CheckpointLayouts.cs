namespace QwixSharp.Checkpoints.Layouts;

/// <summary>All layouts, and which one a checkpoint has.</summary>
internal static class CheckpointLayouts
{
    /// <summary>The layouts in the order in which they are asked; the last takes every checkpoint.</summary>
    private static readonly ICheckpointLayout[] All = [new PlainLayout()];

    internal static (ICheckpointLayout Layout, IReadOnlyList<LogicalTensor> Tensors) Read(Checkpoint checkpoint)
    {
        var layout = All.First(l => l.Recognizes(checkpoint));
        return (layout, layout.Read(checkpoint));
    }
}
