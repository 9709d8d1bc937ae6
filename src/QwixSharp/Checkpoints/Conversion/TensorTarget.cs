namespace QwixSharp.Checkpoints.Conversion;

/// <summary>The form in which a tensor is written to safetensors.</summary>
internal abstract class TensorTarget
{
    /// <summary>The stored tensors.</summary>
    internal abstract IReadOnlyList<TensorEntry> Entries { get; }

    /// <summary>Reads the tensor and writes them; tensors made on the way are the caller's dispose scope's.</summary>
    internal abstract void Write(SafetensorsWriter writer);
}
