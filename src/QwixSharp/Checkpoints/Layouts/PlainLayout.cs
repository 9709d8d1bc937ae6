using QwixSharp.Arrays;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Layouts;

/// <summary>Every stored tensor stands for itself.</summary>
internal sealed class PlainLayout : ICheckpointLayout
{
    public string Name => "plain";

    public bool Recognizes(Checkpoint checkpoint) => true;

    public IReadOnlyList<LogicalTensor> Read(Checkpoint checkpoint) =>
        [.. checkpoint.Tensors.Select(t => new PlainTensor(checkpoint, t))];
}

/// <summary>A stored tensor that stands for itself.</summary>
internal sealed class PlainTensor(Checkpoint checkpoint, TensorEntry entry, string? name = null)
    : LogicalTensor(name ?? entry.Name, [.. entry.Shape], entry)
{
    public override string Description => Stored[0].TypeName;

    public override bool IsQuantized => false;

    public override TensorQuantization? Quantization => null;

    public override ScalarType Dtype => Stored[0].Dtype.Carrier();

    public override QArray ReadQuantized() => throw new InvalidOperationException($"Tensor {this} is not quantized.");

    public override Tensor ReadFloat(ScalarType? dtype = null)
    {
        var tensor = checkpoint.Read(Stored[0].Name);
        if (dtype is not { } wanted || wanted == tensor.dtype || !tensor.is_floating_point())
            return tensor;
        using (tensor)
            return tensor.to(wanted);
    }
}
