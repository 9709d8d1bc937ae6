using QwixSharp.Checkpoints.Awq;
using QwixSharp.Checkpoints.BitsAndBytes;
using QwixSharp.Checkpoints.CompressedTensors;
using QwixSharp.Checkpoints.Gguf;
using QwixSharp.Checkpoints.Gptq;

namespace QwixSharp.Checkpoints.Layouts;

/// <summary>All layouts, and which one a checkpoint has.</summary>
internal static class CheckpointLayouts
{
    /// <summary>The layouts in the order in which they are asked; the last takes every checkpoint.</summary>
    private static readonly ICheckpointLayout[] All = [new QwixLayout(), new GgufLayout(), new CompressedTensorsLayout(), new GptqLayout(), new AwqLayout(), new BitsAndBytesLayout(), new PlainLayout()];

    internal static (ICheckpointLayout Layout, IReadOnlyList<LogicalTensor> Tensors) Read(Checkpoint checkpoint)
    {
        var layout = All.First(l => l.Recognizes(checkpoint));
        return (layout, layout.Read(checkpoint));
    }
}
