using System.Globalization;
using System.Text.Json;
using QwixSharp.Checkpoints.Files;

namespace QwixSharp.Checkpoints.Safetensors;

/// <summary>The files of a folder as Hugging Face writes it: one, or shards with an index.</summary>
internal static class ShardedFolder
{
    /// <summary>Makes a folder where there is none.</summary>
    /// <exception cref="CheckpointException">It cannot be made.</exception>
    internal static void Make(string folder)
    {
        try
        {
            Directory.CreateDirectory(folder);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            throw new CheckpointException($"Cannot make the folder {CheckpointException.Quote(folder)}: {FileErrors.Describe(error)}", error);
        }
    }

    /// <summary>Which tensors go to which file.</summary>
    internal static IReadOnlyList<(string Path, IReadOnlyList<TensorEntry> Tensors)> Plan(string folder, IEnumerable<TensorEntry> tensors, long maxShardSize)
    {
        List<List<TensorEntry>> shards = [[]];
        long size = 0;
        foreach (var entry in tensors)
        {
            if (size > 0 && size + entry.ByteLength > maxShardSize)
            {
                shards.Add([]);
                size = 0;
            }

            shards[^1].Add(entry);
            size += entry.ByteLength;
        }

        string Name(int i) => shards.Count == 1
            ? "model.safetensors"
            : string.Create(CultureInfo.InvariantCulture, $"model-{i + 1:00000}-of-{shards.Count:00000}.safetensors");
        return [.. shards.Select((s, i) => (Path.Combine(folder, Name(i)), (IReadOnlyList<TensorEntry>)s))];
    }

    /// <summary>
    /// Removes the index of an earlier checkpoint before its shards are replaced: a folder in between has no index, rather
    /// than one that points into files that are not its own.
    /// </summary>
    /// <exception cref="CheckpointException">It cannot be removed.</exception>
    internal static void RemoveIndex(string folder)
    {
        try
        {
            File.Delete(Path.Combine(folder, ShardedFormat.IndexName));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"Cannot replace the index in {CheckpointException.Quote(folder)}: {FileErrors.Describe(error)}", error);
        }
    }

    /// <summary>Writes the index from each tensor to its file.</summary>
    internal static void WriteIndex(string folder, IEnumerable<(TensorEntry Entry, string File)> tensors)
    {
        var sorted = tensors.OrderBy(t => t.Entry.Name, StringComparer.Ordinal).ToList();
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            json.WriteStartObject("metadata");
            json.WriteNumber("total_size", sorted.Sum(t => t.Entry.ByteLength));
            json.WriteEndObject();
            json.WriteStartObject("weight_map");
            foreach (var (entry, file) in sorted)
                json.WriteString(entry.Name, file);
            json.WriteEndObject();
            json.WriteEndObject();
        }

        using var index = new NewFile(Path.Combine(folder, ShardedFormat.IndexName), 0);
        index.Write(buffer.ToArray(), 0);
        index.Complete();
    }
}
