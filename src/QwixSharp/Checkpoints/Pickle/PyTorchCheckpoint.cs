using QwixSharp.Arrays;
using QwixSharp.Checkpoints.Files;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Pickle;

/// <summary>
/// A state dict as torch.save writes it. Tensors that are views, such as transposed ones, or compressed, as TorchSharp.PyBridge
/// writes them, are made contiguous when they are read.
/// </summary>
internal sealed class PyTorchCheckpoint : Checkpoint
{
    private readonly CheckpointFile _file;
    private readonly Dictionary<string, PyTorchTensor> _elsewhere;

    internal PyTorchCheckpoint(string path, CheckpointFile file, IReadOnlyList<PyTorchTensor> tensors)
        : base(path, [file], [.. tensors.Select(t => new StoredTensor(t.Entry, file, t.Storage.Offset + t.Offset))], new Dictionary<string, string>())
    {
        _file = file;
        _elsewhere = tensors.Where(t => !t.IsInPlace).ToDictionary(t => t.Entry.Name, StringComparer.Ordinal);
    }

    /// <inheritdoc/>
    public override string Format => "pytorch";

    /// <inheritdoc/>
    public override unsafe Tensor Read(string name)
    {
        if (!_elsewhere.TryGetValue(name, out var tensor))
            return base.Read(name);
        using var scope = NewDisposeScope();
        var storage = empty(tensor.Extent, dtype: tensor.Entry.Dtype.Carrier());
        long length = tensor.Extent * storage.ElementSize;
        if (length > int.MaxValue)
            throw new CheckpointException($"The tensor {CheckpointException.Quote(name)} of {CheckpointException.Quote(Path)} has {length} bytes in a view or compressed; at most {int.MaxValue} can be read so. Save a contiguous copy of it.");
        tensor.Storage.Read(_file, new Span<byte>((byte*)TensorMemory.Address(storage), (int)length), tensor.Offset);
        return storage.as_strided([.. tensor.Entry.Shape], tensor.Strides).contiguous().MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override unsafe void ReadBytes(string name, Span<byte> destination, long offset = 0)
    {
        if (!_elsewhere.TryGetValue(name, out var located))
        {
            base.ReadBytes(name, destination, offset);
            return;
        }

        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, located.Entry.ByteLength - destination.Length);
        using var tensor = Read(name);
        new ReadOnlySpan<byte>((byte*)TensorMemory.Address(tensor) + offset, destination.Length).CopyTo(destination);
    }

    /// <inheritdoc/>
    public override ReadOnlySpan<byte> GetBytes(string name, long offset, int length) => _elsewhere.ContainsKey(name)
        ? throw new CheckpointException($"The tensor {CheckpointException.Quote(name)} of {CheckpointException.Quote(Path)} is a view, or compressed: its bytes do not lie together. Read it.")
        : base.GetBytes(name, offset, length);
}
