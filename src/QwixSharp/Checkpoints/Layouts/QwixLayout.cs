using QwixSharp.Numerics;
using QwixSharp.Rules;

namespace QwixSharp.Checkpoints.Layouts;

/// <summary>
/// This project's own layout: the names of a quantized model's state dict, and what they do not say in the metadata. Files
/// without the metadata, as a program around the reference may write them, are read where dtypes tell the types of the codes.
/// </summary>
internal sealed class QwixLayout : ICheckpointLayout
{
    internal const string LayoutName = "qwix";

    public string Name => LayoutName;

    public bool Recognizes(Checkpoint checkpoint) =>
        checkpoint.Metadata.ContainsKey(QwixManifest.Key) || checkpoint.Tensors.Any(t => IsBareQuantized(checkpoint, t));

    public IReadOnlyList<QuantizationRule>? ReadRules(Checkpoint checkpoint) => ReadManifest(checkpoint).Rules;

    public IReadOnlyList<LogicalTensor> Read(Checkpoint checkpoint)
    {
        var manifest = ReadManifest(checkpoint);
        List<LogicalTensor> tensors = [.. manifest.Tensors.Select(t => new QwixTensor(checkpoint, t.Key, t.Value))];
        var parts = tensors.SelectMany(t => t.Stored).Select(s => s.Name).ToHashSet(StringComparer.Ordinal);
        tensors.AddRange(checkpoint.Tensors
            .Where(t => !parts.Contains(t.Name) && !t.Name.StartsWith(QwixEntries.QuantStats, StringComparison.Ordinal))
            .Select(t => new PlainTensor(checkpoint, t)));
        return [.. tensors.OrderBy(t => t.Name, StringComparer.Ordinal)];
    }

    private static QwixManifest ReadManifest(Checkpoint checkpoint)
    {
        if (checkpoint.Metadata.TryGetValue(QwixManifest.Key, out var json))
            return QwixManifest.Parse(json, checkpoint.Path);
        return new QwixManifest(null, checkpoint.Tensors.Where(t => IsBareQuantized(checkpoint, t)).ToDictionary(
            t => t.Name[..^QwixEntries.QValue.Length],
            t => new QwixTensorInfo(TypeOf(t)!, t.Shape, new Dictionary<int, long>(), null),
            StringComparer.Ordinal));
    }

    private static bool IsBareQuantized(Checkpoint checkpoint, TensorEntry entry) =>
        entry.Name.EndsWith(QwixEntries.QValue, StringComparison.Ordinal) && TypeOf(entry) is not null
        && checkpoint.Contains(entry.Name[..^QwixEntries.QValue.Length] + QwixEntries.Scale);

    private static QType? TypeOf(TensorEntry entry) => entry.Dtype switch
    {
        CheckpointDtype.Int8 => QType.Int8,
        CheckpointDtype.Int16 => QType.Int16,
        CheckpointDtype.Float8E4M3Fn => QType.Float8E4M3Fn,
        CheckpointDtype.Float8E5M2 => QType.Float8E5M2,
        _ => null,
    };
}
