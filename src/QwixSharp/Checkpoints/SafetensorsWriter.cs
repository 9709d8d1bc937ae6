using QwixSharp.Arrays;
using QwixSharp.Checkpoints.Files;
using QwixSharp.Checkpoints.Safetensors;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints;

/// <summary>
/// Writes tensors that were declared beforehand, in any order and from several threads, as one safetensors file or as shards.
/// Nothing has its final name before <see cref="Complete"/>, and what is there is on the disk; disposing without it leaves nothing.
/// </summary>
public sealed class SafetensorsWriter : IDisposable
{
    /// <summary>The bytes after which a new shard begins unless told.</summary>
    public const long DefaultShardSize = 5_000_000_000;

    private readonly List<NewFile> _files = [];
    private readonly Dictionary<string, Place> _places = new(StringComparer.Ordinal);
    private readonly string? _folder;
    private bool _complete;

    private SafetensorsWriter(IReadOnlyList<(string Path, IReadOnlyList<TensorEntry> Tensors)> shards, IReadOnlyDictionary<string, string>? metadata, string? folder)
    {
        _folder = folder;
        try
        {
            foreach (var (path, tensors) in shards)
            {
                var header = SafetensorsHeaderWriter.Write(tensors, metadata, out var sorted);
                long length = header.Length + sorted.Sum(t => t.ByteLength);
                var file = new NewFile(path, length);
                _files.Add(file);
                file.Write(header, 0);
                long offset = header.Length;
                foreach (var entry in sorted)
                {
                    if (!_places.TryAdd(entry.Name, new Place(entry, file, offset)))
                        throw new ArgumentException($"Tensor {CheckpointException.Quote(entry.Name)} is declared twice.", nameof(shards));
                    offset += entry.ByteLength;
                }
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Begins one file.</summary>
    /// <param name="path">Its path; a file that is there is replaced on <see cref="Complete"/>.</param>
    /// <param name="tensors">The tensors that will be written.</param>
    /// <param name="metadata">What the file says beside them; null for nothing.</param>
    /// <returns>A writer that the caller owns.</returns>
    /// <exception cref="ArgumentException">Two tensors have the same name.</exception>
    /// <exception cref="CheckpointException">The folder cannot be written to, or lacks the room for the whole file.</exception>
    public static SafetensorsWriter Create(string path, IEnumerable<TensorEntry> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        ArgumentNullException.ThrowIfNull(tensors);
        return new SafetensorsWriter([(path, [.. tensors])], metadata, null);
    }

    /// <summary>
    /// Begins a folder as Hugging Face writes it: <c>model.safetensors</c>, or where that would be larger than a shard,
    /// <c>model-00001-of-….safetensors</c> and <c>model.safetensors.index.json</c>.
    /// </summary>
    /// <param name="folder">The folder; made where there is none.</param>
    /// <param name="tensors">The tensors that will be written, which keep this order over the shards.</param>
    /// <param name="metadata">What every shard says beside them; null for nothing.</param>
    /// <param name="maxShardSize">The bytes of tensors that a shard may have, unless one tensor alone has more.</param>
    /// <returns>A writer that the caller owns.</returns>
    /// <exception cref="ArgumentException">Two tensors have the same name, or the size is not positive.</exception>
    /// <exception cref="CheckpointException">The folder cannot be written to, or lacks the room.</exception>
    public static SafetensorsWriter CreateFolder(string folder, IEnumerable<TensorEntry> tensors, IReadOnlyDictionary<string, string>? metadata = null, long maxShardSize = DefaultShardSize)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        ArgumentNullException.ThrowIfNull(tensors);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(maxShardSize);
        ShardedFolder.Make(folder);
        var shards = ShardedFolder.Plan(tensors, t => t.ByteLength, maxShardSize);
        return new SafetensorsWriter([.. shards.Select((s, i) => (Path.Combine(folder, ShardedFolder.FileName(i, shards.Count)), s))], metadata, folder);
    }

    /// <summary>Writes a whole tensor.</summary>
    /// <param name="name">Its name, as declared.</param>
    /// <param name="tensor">
    /// Its values, on any device, of the declared shape and dtype. A dtype that TorchSharp lacks is given as the same bits, as
    /// <see cref="Checkpoint.Read"/> gives it.
    /// </param>
    /// <exception cref="ArgumentException">It was not declared so.</exception>
    /// <exception cref="CheckpointException">It cannot be written, for instance because the disk is full.</exception>
    public unsafe void Write(string name, Tensor tensor)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        var place = Find(name);
        if (tensor.dtype != place.Entry.Dtype.Carrier() || !tensor.shape.SequenceEqual(place.Entry.CarrierShape()))
            throw new ArgumentException($"Tensor {place.Entry} was declared, but {tensor.dtype} [{string.Join(", ", tensor.shape)}] was given.", nameof(tensor));
        using var scope = NewDisposeScope();
        var memory = tensor.detach().cpu().contiguous();
        const int chunk = 1 << 30;
        byte* address = (byte*)TensorMemory.Address(memory);
        for (long done = 0; done < place.Entry.ByteLength; done += chunk)
            Write(place, new ReadOnlySpan<byte>(address + done, (int)Math.Min(chunk, place.Entry.ByteLength - done)), done);
    }

    /// <summary>Writes bytes of a tensor. Each byte of it is written once, in any order.</summary>
    /// <param name="name">Its name, as declared.</param>
    /// <param name="bytes">The bytes as they are stored.</param>
    /// <param name="offset">The place of the first, counted from the start of the tensor.</param>
    /// <exception cref="ArgumentException">It was not declared, or does not have as many bytes.</exception>
    /// <exception cref="CheckpointException">They cannot be written, for instance because the disk is full.</exception>
    public void Write(string name, ReadOnlySpan<byte> bytes, long offset = 0)
    {
        var place = Find(name);
        if (offset < 0 || offset > place.Entry.ByteLength - bytes.Length)
            throw new ArgumentException($"Bytes {offset} to {offset + bytes.Length} are not within the {place.Entry.ByteLength} of the tensor {place.Entry}.", nameof(offset));
        Write(place, bytes, offset);
    }

    /// <summary>Brings everything to the disk, and only then gives the files their names; the index comes last.</summary>
    /// <exception cref="InvalidOperationException">A declared tensor was not written in whole.</exception>
    /// <exception cref="CheckpointException">It cannot be done.</exception>
    public void Complete()
    {
        if (_places.Values.FirstOrDefault(p => p.Written != p.Entry.ByteLength) is { } place)
            throw new InvalidOperationException($"{place.Written} of the {place.Entry.ByteLength} bytes of the tensor {place.Entry} were written.");
        foreach (var file in _files)
            file.Flush();
        if (_folder is not null)
            ShardedFolder.RemoveIndex(_folder);
        foreach (var file in _files)
            file.Complete();
        if (_folder is not null && _files.Count > 1)
            ShardedFolder.WriteIndex(_folder, _places.Values.Select(p => (p.Entry, Path.GetFileName(p.File.Path))));
        _complete = true;
    }

    /// <summary>Closes the files. Without <see cref="Complete"/> before, what was written is deleted.</summary>
    public void Dispose()
    {
        foreach (var file in _files)
            file.Dispose();
        _files.Clear();
    }

    private static void Write(Place place, ReadOnlySpan<byte> bytes, long offset)
    {
        place.File.Write(bytes, place.Offset + offset);
        place.AddWritten(bytes.Length);
    }

    private Place Find(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        if (_complete)
            throw new InvalidOperationException("The checkpoint is complete; nothing more can be written to it.");
        return _places.TryGetValue(name, out var place) ? place : throw new ArgumentException($"Tensor {CheckpointException.Quote(name)} was not declared.", nameof(name));
    }

    private sealed class Place(TensorEntry entry, NewFile file, long offset)
    {
        private long _written;

        internal TensorEntry Entry => entry;

        internal NewFile File => file;

        internal long Offset => offset;

        internal long Written => Interlocked.Read(ref _written);

        internal void AddWritten(long bytes) => Interlocked.Add(ref _written, bytes);
    }
}
