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
        writer.Write(tensor.Name + QwixEntries.QValue, array.Codes);
        writer.Write(tensor.Name + QwixEntries.Scale, array.Scale);
        if (array.ZeroPoint is { } zeroPoint)
            writer.Write(tensor.Name + QwixEntries.ZeroPoint, zeroPoint);
    }

    /// <summary>What the layout says of all quantized tensors of a checkpoint.</summary>
    internal static KeyValuePair<string, string> Manifest(Checkpoint source)
    {
        var tensors = source.LogicalTensors.Where(t => t.Quantization is not null).ToDictionary(t => t.Name, Describe, StringComparer.Ordinal);
        return new(QwixManifest.Key, new QwixManifest(source.Layout.ReadRules(source), tensors).ToJson());
    }

    private static QwixTensorInfo Describe(LogicalTensor tensor)
    {
        var scales = tensor.Quantization!.ScaleShape;
        var tiles = Enumerable.Range(0, scales.Count).Where(a => scales[a] != 1 && scales[a] != tensor.Shape[a]).ToDictionary(a => a, a => tensor.Shape[a] / scales[a]);
        return new(tensor.Quantization.QType, tensor.Shape, tiles, null);
    }
}
