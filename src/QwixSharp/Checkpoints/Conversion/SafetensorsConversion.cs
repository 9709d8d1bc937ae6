using QwixSharp.Checkpoints.Files;
using QwixSharp.Checkpoints.Quantization;

namespace QwixSharp.Checkpoints.Conversion;

/// <summary>Writes the tensors of a checkpoint as safetensors, each in a form of its own.</summary>
internal static class SafetensorsConversion
{
    /// <param name="source">The checkpoint.</param>
    /// <param name="target">A file or folder.</param>
    /// <param name="manifest">An entry for the metadata; or null.</param>
    /// <param name="form">The form in which a tensor is written.</param>
    /// <param name="progress">Is told after each tensor.</param>
    /// <param name="cancellation">Stops it.</param>
    internal static void Write(
        Checkpoint source, string target, KeyValuePair<string, string>? manifest, Func<LogicalTensor, TensorTarget> form, IProgress<CheckpointProgress>? progress, CancellationToken cancellation)
    {
        ArgumentException.ThrowIfNullOrEmpty(target);
        PartialFolder.CheckFree(source, target);
        var forms = source.LogicalTensors.ToDictionary(t => t.Name, form, StringComparer.Ordinal);
        var metadata = new Dictionary<string, string> { ["format"] = "pt" };
        if (manifest is { } entry)
            metadata[entry.Key] = entry.Value;
        bool isFile = target.EndsWith(".safetensors", StringComparison.OrdinalIgnoreCase);
        var entries = source.LogicalTensors.SelectMany(t => forms[t.Name].Entries);
        using var writer = isFile ? SafetensorsWriter.Create(target, entries, metadata) : SafetensorsWriter.CreateFolder(target, entries, metadata);
        Work.ForEach(source.LogicalTensors, t => forms[t.Name].Write(writer), progress, cancellation);
        writer.Complete();
        if (!isFile)
            SideFiles.Copy(source, target);
    }
}
