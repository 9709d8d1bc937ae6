using QwixSharp.Arrays;
using QwixSharp.Checkpoints.Layouts;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Gguf;

/// <summary>Every tensor of a GGUF file stands for itself, in blocks or plain.</summary>
internal sealed class GgufLayout : ICheckpointLayout
{
    public string Name => "gguf";

    public bool Recognizes(Checkpoint checkpoint) => checkpoint is GgufCheckpoint;

    public IReadOnlyList<LogicalTensor> Read(Checkpoint checkpoint)
    {
        var file = (GgufCheckpoint)checkpoint;
        return [.. file.Tensors.Select(t => t.Dtype == CheckpointDtype.Other ? (LogicalTensor)new GgufBlocks(file, t) : new PlainTensor(file, t))];
    }
}

/// <summary>A tensor in blocks.</summary>
internal sealed class GgufBlocks(GgufCheckpoint checkpoint, TensorEntry entry) : QuantizedTensor(entry.Name, [.. entry.Shape], [entry])
{
    private readonly GgufTensor _tensor = checkpoint.Tensor(entry.Name);

    public override string Description => _tensor.Type.Name;

    public override TensorQuantization? Quantization => GgufValues.QuantizationOf(_tensor);

    public override ScalarType Dtype => ScalarType.Float32;

    public override QArray ReadQuantized() =>
        GgufValues.TryReadQArray(checkpoint.File, _tensor) ?? throw NoQArray($"{_tensor.Type} has a minimum for each block, or is not read");

    public override Tensor ReadFloat(ScalarType? dtype = null)
    {
        var values = GgufValues.Read(checkpoint.File, _tensor);
        if (dtype is not { } wanted || wanted == ScalarType.Float32)
            return values;
        using (values)
            return values.to(wanted);
    }
}
