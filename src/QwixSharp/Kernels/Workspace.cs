namespace QwixSharp.Kernels;

/// <summary>Native memory that is kept between products and grows to what they need. Its contents are not kept.</summary>
internal sealed unsafe class Workspace : IDisposable
{
    /// <summary>Buffers larger than this are given back after the product that needed them.</summary>
    private const long KeptBytes = 64L << 20;

    private AlignedMemory? _memory;

    /// <summary>At least so many bytes on a 64-byte boundary.</summary>
    /// <param name="bytes">The size.</param>
    public byte* Reserve(long bytes)
    {
        if (_memory is null || _memory.Bytes < bytes)
        {
            _memory?.Dispose();
            _memory = null;
            _memory = new AlignedMemory(bytes + bytes / 4);
        }
        return _memory.Pointer;
    }

    /// <summary>Gives an unusually large buffer back.</summary>
    public void Trim()
    {
        if (_memory is { Bytes: > KeptBytes })
            Dispose();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _memory?.Dispose();
        _memory = null;
    }
}
