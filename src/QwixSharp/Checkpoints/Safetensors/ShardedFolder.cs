using System.Globalization;
using System.Text.Json;
using QwixSharp.Checkpoints.Files;

namespace QwixSharp.Checkpoints.Safetensors;

/// <summary>The files of a folder as Hugging Face writes it: one, or shards with an index.</summary>
internal static class ShardedFolder
{
    /// <summary>Makes a folder where there is none.</summary>
    /// <exception cref="CheckpointException">It cannot be made.</exception>
    internal static void Make(string folder) =>
        FileErrors.Guard($"Cannot make the folder {CheckpointException.Quote(folder)}", () => Directory.CreateDirectory(folder));

    /// <summary>Which tensors go to which file.</summary>
    /// <typeparam name="T">A tensor, or several that stay together.</typeparam>
    /// <param name="tensors">The tensors in order.</param>
    /// <param name="size">The bytes of each.</param>
    /// <param name="maxShardSize">The bytes of a shard.</param>
    internal static IReadOnlyList<IReadOnlyList<T>> Plan<T>(IEnumerable<T> tensors, Func<T, long> size, long maxShardSize)
    {
        List<List<T>> shards = [[]];
        long sum = 0;
        foreach (var tensor in tensors)
        {
            if (sum > 0 && sum + size(tensor) > maxShardSize)
            {
                shards.Add([]);
                sum = 0;
            }

            shards[^1].Add(tensor);
            sum += size(tensor);
        }

        return shards;
    }

    /// <summary>The name of a shard.</summary>
    internal static string FileName(int index, int count) => count == 1
        ? "model.safetensors"
        : string.Create(CultureInfo.InvariantCulture, $"model-{index + 1:00000}-of-{count:00000}.safetensors");

    /// <summary>
    /// Removes the index of an earlier checkpoint before its shards are replaced: a folder in between has no index, rather
    /// than one that points into files that are not its own.
    /// </summary>
    /// <exception cref="CheckpointException">It cannot be removed.</exception>
    internal static void RemoveIndex(string folder) =>
        FileErrors.Guard($"Cannot replace the index in {CheckpointException.Quote(folder)}", () => File.Delete(Path.Combine(folder, ShardedFormat.IndexName)));

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
