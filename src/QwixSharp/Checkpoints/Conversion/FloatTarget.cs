using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Conversion;

/// <summary>A tensor without quantization. Integers and the like stay as they are stored.</summary>
internal sealed class FloatTarget : TensorTarget
{
    private readonly LogicalTensor _tensor;
    private readonly ScalarType _dtype;

    internal FloatTarget(LogicalTensor tensor, ScalarType? dtype)
    {
        _tensor = tensor;
        _dtype = dtype is { } wanted && is_floating_point(tensor.Dtype) ? wanted : tensor.Dtype;
        bool isStored = !tensor.IsQuantized && tensor.Stored is [{ } only] && only.Dtype != CheckpointDtype.Other && only.Dtype.Carrier() == _dtype;
        Entries = [isStored ? new TensorEntry(tensor.Name, tensor.Stored[0].Dtype, [.. tensor.Shape]) : new TensorEntry(tensor.Name, CheckpointDtypes.Of(_dtype), [.. tensor.Shape])];
    }

    internal override IReadOnlyList<TensorEntry> Entries { get; }

    internal override void Write(SafetensorsWriter writer) => writer.Write(_tensor.Name, _tensor.ReadFloat(is_floating_point(_dtype) ? _dtype : null));
}
