using System.Text.Json;
using QwixSharp.Arrays;
using QwixSharp.Checkpoints.Files;
using QwixSharp.Checkpoints.Layouts;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints;

/// <summary>
/// A checkpoint open for reading: a safetensors file, a folder as Hugging Face writes it, or a file of another format.
/// Opening reads what describes the tensors; their values are read when they are asked for. Safe for several threads.
/// </summary>
public abstract class Checkpoint : IDisposable
{
    private readonly IReadOnlyList<CheckpointFile> _files;
    private readonly Dictionary<string, StoredTensor> _stored;
    private readonly Lazy<(ICheckpointLayout Layout, IReadOnlyList<LogicalTensor> Tensors)> _logical;
    private readonly Lazy<JsonElement?> _config;

    /// <summary>A checkpoint of tensors in files, which it then owns.</summary>
    private protected Checkpoint(string path, IReadOnlyList<CheckpointFile> files, IReadOnlyList<StoredTensor> tensors, IReadOnlyDictionary<string, string> metadata)
    {
        Path = path;
        _files = files;
        Tensors = [.. tensors.Select(t => t.Entry)];
        Metadata = metadata;
        _stored = tensors.ToDictionary(t => t.Entry.Name, StringComparer.Ordinal);
        _config = new(() => HuggingFaceFolder.ReadConfig(Path));
        _logical = new(() => CheckpointLayouts.Read(this));
    }

    /// <summary>The file or folder that was opened.</summary>
    public string Path { get; }

    /// <summary>The name of the format: <c>safetensors</c>, <c>gguf</c> or <c>pytorch</c>.</summary>
    public abstract string Format { get; }

    /// <summary>What the files say beside the tensors, as text.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>The <c>config.json</c> in the folder of the checkpoint; null where there is none.</summary>
    /// <exception cref="CheckpointException">It is not valid JSON.</exception>
    public JsonElement? Config => _config.Value;

    /// <summary>The tensors as they are stored.</summary>
    public IReadOnlyList<TensorEntry> Tensors { get; }

    /// <summary>How quantized tensors are laid out in the stored ones.</summary>
    /// <exception cref="CheckpointException">The checkpoint claims a layout that it does not follow.</exception>
    public ICheckpointLayout Layout => _logical.Value.Layout;

    /// <summary>The tensors that the stored ones stand for, each plain or quantized, by the layout.</summary>
    /// <exception cref="CheckpointException">The checkpoint claims a layout that it does not follow.</exception>
    public IReadOnlyList<LogicalTensor> LogicalTensors => _logical.Value.Tensors;

    /// <summary>The files in which the tensors are.</summary>
    internal IReadOnlyList<CheckpointFile> Files => _files;

    /// <summary>Opens a checkpoint; its format is told by its content.</summary>
    /// <param name="path">
    /// A file (safetensors, GGUF, PyTorch), the index of a sharded checkpoint, or a folder that holds a checkpoint.
    /// </param>
    /// <returns>A checkpoint that the caller owns.</returns>
    /// <exception cref="CheckpointException">There is none, it cannot be read, or it contradicts itself.</exception>
    public static Checkpoint Open(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        return CheckpointFormats.Open(path);
    }

    /// <summary>Whether there is a tensor by a name.</summary>
    /// <param name="name">The name.</param>
    /// <returns>Whether the checkpoint stores it.</returns>
    public bool Contains(string name) => _stored.ContainsKey(name);

    /// <summary>The description of a tensor.</summary>
    /// <param name="name">Its name.</param>
    /// <returns>The description.</returns>
    /// <exception cref="CheckpointException">There is no tensor by that name.</exception>
    public TensorEntry Entry(string name) => Stored(name).Entry;

    /// <summary>Reads a tensor.</summary>
    /// <param name="name">Its name.</param>
    /// <returns>
    /// A tensor on the CPU that the caller owns. Dtypes that TorchSharp lacks come as the same bits: small floats as uint8 (those
    /// that share bytes with the last axis in bytes), unsigned integers as the signed ones of their width.
    /// </returns>
    /// <exception cref="CheckpointException">There is no tensor by that name, its dtype is of the format's own, or the file cannot be read.</exception>
    public virtual Tensor Read(string name)
    {
        var stored = Stored(name);
        if (stored.Entry.Dtype == CheckpointDtype.Other)
            throw new CheckpointException($"Tensor {stored.Entry} of {CheckpointException.Quote(Path)} is in blocks of {Format}'s own. Read it through LogicalTensors.");
        var tensor = empty(stored.Entry.CarrierShape(), dtype: stored.Entry.Dtype.Carrier());
        try
        {
            ReadInto(stored, TensorMemory.Address(tensor));
            return tensor;
        }
        catch
        {
            tensor.Dispose();
            throw;
        }
    }

    /// <summary>Reads bytes of a tensor as they are stored.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="destination">Where they go; all of it is filled.</param>
    /// <param name="offset">The first byte, counted from the start of the tensor.</param>
    /// <exception cref="ArgumentOutOfRangeException">The tensor does not have as many bytes.</exception>
    /// <exception cref="CheckpointException">There is no tensor by that name, or the file cannot be read.</exception>
    public virtual void ReadBytes(string name, Span<byte> destination, long offset = 0)
    {
        var stored = Stored(name);
        CheckRange(stored.Entry, offset, destination.Length);
        stored.File.Read(destination, stored.Offset + offset);
    }

    /// <summary>Bytes of a tensor in the memory map of its file, without a copy.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="offset">The first byte, counted from the start of the tensor.</param>
    /// <param name="length">How many bytes.</param>
    /// <returns>
    /// The bytes, valid until the checkpoint is disposed: using them after that, or while another process cuts the file
    /// short, ends the process. <see cref="ReadBytes"/> fails cleanly.
    /// </returns>
    /// <exception cref="ArgumentOutOfRangeException">The tensor does not have as many bytes.</exception>
    /// <exception cref="CheckpointException">There is no tensor by that name, or the file has become shorter.</exception>
    public virtual ReadOnlySpan<byte> GetBytes(string name, long offset, int length)
    {
        var stored = Stored(name);
        CheckRange(stored.Entry, offset, length);
        return stored.File.Span(stored.Offset + offset, length);
    }

    /// <summary>Closes the files.</summary>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Closes the files.</summary>
    /// <param name="disposing">Whether this is a call of <see cref="Dispose()"/>.</param>
    protected virtual void Dispose(bool disposing)
    {
        if (!disposing)
            return;
        foreach (var file in _files)
            file.Dispose();
    }

    /// <summary>Where a tensor is.</summary>
    private protected StoredTensor Stored(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        if (_stored.TryGetValue(name, out var stored))
            return stored;
        var near = Tensors.Where(t => t.Name.EndsWith(name, StringComparison.Ordinal) || name.EndsWith(t.Name, StringComparison.Ordinal)).Concat(Tensors).Take(5);
        throw new CheckpointException($"{CheckpointException.Quote(Path)} has no tensor {CheckpointException.Quote(name)}. Among its {Tensors.Count} are: {string.Join(", ", near.Select(t => CheckpointException.Quote(t.Name)))}.");
    }

    private static unsafe void ReadInto(StoredTensor stored, nint address)
    {
        const int chunk = 1 << 30;
        for (long done = 0; done < stored.Entry.ByteLength; done += chunk)
        {
            int length = (int)Math.Min(chunk, stored.Entry.ByteLength - done);
            stored.File.Read(new Span<byte>((byte*)address + done, length), stored.Offset + done);
        }
    }

    private static void CheckRange(TensorEntry entry, long offset, int length)
    {
        if (offset < 0 || length < 0 || offset > entry.ByteLength - length)
            throw new ArgumentOutOfRangeException(nameof(offset), $"Bytes {offset} to {offset + length} are not within the {entry.ByteLength} of the tensor {entry}.");
    }
}
