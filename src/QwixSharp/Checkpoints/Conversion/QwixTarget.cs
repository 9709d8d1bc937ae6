using QwixSharp.Checkpoints.Layouts;

namespace QwixSharp.Checkpoints.Conversion;

/// <summary>A quantized tensor in this project's own layout.</summary>
internal sealed class QwixTarget(LogicalTensor tensor) : TensorTarget
{
    internal override IReadOnlyList<TensorEntry> Entries { get; } =
        QwixEntries.Of(tensor.Name, tensor.Quantization!.QType, [.. tensor.Shape], [.. tensor.Quantization.ScaleShape], tensor.Dtype, tensor.Quantization.HasZeroPoint);

    internal override void Write(SafetensorsWriter writer)
    {
        using var array = tensor.ReadQuantized();
        QwixEntries.Write(writer, tensor.Name, array, tensor.Dtype);
    }

    /// <summary>What the layout says of all quantized tensors of a checkpoint.</summary>
    internal static KeyValuePair<string, string> Manifest(Checkpoint source)
    {
        var tensors = source.LogicalTensors.Where(t => t.Quantization is not null).ToDictionary(t => t.Name, t => QwixTensorInfo.Of(t.Shape, t.Quantization!, null), StringComparer.Ordinal);
        return new(QwixManifest.Key, new QwixManifest(source.Layout.ReadRules(source), tensors).ToJson());
    }
}
