using System.Text.Json;
using QwixSharp.Checkpoints.Files;

namespace QwixSharp.Checkpoints.Safetensors;

/// <summary>Tensors in one safetensors file, or in several.</summary>
internal sealed class SafetensorsCheckpoint(string path, IReadOnlyList<CheckpointFile> files, IReadOnlyList<StoredTensor> tensors, IReadOnlyDictionary<string, string> metadata)
    : Checkpoint(path, files, tensors, metadata)
{
    /// <inheritdoc/>
    public override string Format => "safetensors";
}

/// <summary>One safetensors file.</summary>
internal sealed class SafetensorsFormat : ICheckpointFormat
{
    public IReadOnlyList<string> FileNames => ["model.safetensors", "adapter_model.safetensors", "*.safetensors"];

    public bool Recognizes(string path, ReadOnlySpan<byte> start) =>
        SafetensorsHeader.IsStart(start) || path.EndsWith(".safetensors", StringComparison.OrdinalIgnoreCase);

    public Checkpoint Open(string file, string path)
    {
        var opened = new CheckpointFile(file);
        try
        {
            var header = SafetensorsHeader.Read(opened);
            return new SafetensorsCheckpoint(path, [opened], header.Tensors, header.Metadata);
        }
        catch
        {
            opened.Dispose();
            throw;
        }
    }
}

/// <summary>Several safetensors files, and an index from each tensor to its file.</summary>
internal sealed class ShardedFormat : ICheckpointFormat
{
    internal const string IndexName = "model.safetensors.index.json";

    public IReadOnlyList<string> FileNames => [IndexName];

    public bool Recognizes(string path, ReadOnlySpan<byte> start) => path.EndsWith(".safetensors.index.json", StringComparison.Ordinal);

    public Checkpoint Open(string file, string path)
    {
        var folder = Path.GetDirectoryName(Path.GetFullPath(file))!;
        var shardOf = ReadIndex(file);
        var files = new List<CheckpointFile>();
        try
        {
            var tensors = new Dictionary<string, StoredTensor>(StringComparer.Ordinal);
            var metadata = new Dictionary<string, string>(StringComparer.Ordinal);
            foreach (var shard in shardOf.Values.Distinct().Order(StringComparer.Ordinal))
            {
                files.Add(new CheckpointFile(HuggingFaceFolder.Shard(folder, shard)));
                var header = SafetensorsHeader.Read(files[^1]);
                foreach (var (key, value) in header.Metadata)
                    metadata.TryAdd(key, value);
                // A tensor that the index has elsewhere, or not at all, is not part of the checkpoint.
                foreach (var tensor in header.Tensors.Where(t => shardOf.GetValueOrDefault(t.Entry.Name) == shard))
                    tensors.Add(tensor.Entry.Name, tensor);
            }

            if (shardOf.FirstOrDefault(s => !tensors.ContainsKey(s.Key)) is { Key: { } missing, Value: var place })
                throw new CheckpointException($"{CheckpointException.Quote(file)} has tensor {CheckpointException.Quote(missing)} in {CheckpointException.Quote(place)}, but that file does not have it. Get the shards and the index again.");
            return new SafetensorsCheckpoint(path, files, [.. tensors.Values], metadata);
        }
        catch
        {
            files.ForEach(f => f.Dispose());
            throw;
        }
    }

    private static Dictionary<string, string> ReadIndex(string file)
    {
        var index = HuggingFaceFolder.ReadJson(file);
        if (index.ValueKind != JsonValueKind.Object || !index.TryGetProperty("weight_map", out var map) || map.ValueKind != JsonValueKind.Object)
            throw new CheckpointException($"{CheckpointException.Quote(file)} is not an index of shards: it has no weight_map.");
        var shards = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var tensor in map.EnumerateObject())
        {
            if (tensor.Value.ValueKind != JsonValueKind.String)
                throw new CheckpointException($"{CheckpointException.Quote(file)} does not say in which file tensor {CheckpointException.Quote(tensor.Name)} is.");
            if (!shards.TryAdd(tensor.Name, tensor.Value.GetString()!))
                throw new CheckpointException($"{CheckpointException.Quote(file)} has tensor {CheckpointException.Quote(tensor.Name)} twice.");
        }

        return shards;
    }
}
