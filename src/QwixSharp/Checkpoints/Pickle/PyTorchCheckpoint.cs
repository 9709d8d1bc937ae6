using QwixSharp.Arrays;
using QwixSharp.Checkpoints.Files;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Pickle;

/// <summary>A state dict as torch.save writes it. Tensors that are views, such as transposed ones, are made contiguous when they are read.</summary>
internal sealed class PyTorchCheckpoint : Checkpoint
{
    private readonly CheckpointFile _file;
    private readonly Dictionary<string, PyTorchTensor> _strided;

    internal PyTorchCheckpoint(string path, CheckpointFile file, IReadOnlyList<PyTorchTensor> tensors)
        : base(path, [file], [.. tensors.Select(t => new StoredTensor(t.Entry, file, t.Offset))], new Dictionary<string, string>())
    {
        _file = file;
        _strided = tensors.Where(t => t.Strides is not null).ToDictionary(t => t.Entry.Name, StringComparer.Ordinal);
    }

    /// <inheritdoc/>
    public override string Format => "pytorch";

    /// <inheritdoc/>
    public override unsafe Tensor Read(string name)
    {
        if (!_strided.TryGetValue(name, out var tensor))
            return base.Read(name);
        using var scope = NewDisposeScope();
        var storage = empty(tensor.Extent, dtype: tensor.Entry.Dtype.Carrier());
        byte* address = (byte*)TensorMemory.Address(storage);
        const int chunk = 1 << 30;
        for (long done = 0, length = tensor.Extent * storage.ElementSize; done < length; done += chunk)
            _file.Read(new Span<byte>(address + done, (int)Math.Min(chunk, length - done)), tensor.Offset + done);
        return storage.as_strided([.. tensor.Entry.Shape], tensor.Strides!).contiguous().MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    public override unsafe void ReadBytes(string name, Span<byte> destination, long offset = 0)
    {
        if (!_strided.TryGetValue(name, out var strided))
        {
            base.ReadBytes(name, destination, offset);
            return;
        }

        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, strided.Entry.ByteLength - destination.Length);
        using var tensor = Read(name);
        new ReadOnlySpan<byte>((byte*)TensorMemory.Address(tensor) + offset, destination.Length).CopyTo(destination);
    }

    /// <inheritdoc/>
    public override ReadOnlySpan<byte> GetBytes(string name, long offset, int length) => _strided.ContainsKey(name)
        ? throw new CheckpointException($"The tensor {CheckpointException.Quote(name)} of {CheckpointException.Quote(Path)} is a view whose elements lie apart. Read it.")
        : base.GetBytes(name, offset, length);
}
