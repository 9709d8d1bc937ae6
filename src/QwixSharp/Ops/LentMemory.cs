using QwixSharp.Kernels;

namespace QwixSharp.Ops;

/// <summary>Memory for values that no tensor holds; it goes back to the process's pool when it is disposed.</summary>
internal sealed unsafe class LentMemory : IDisposable
{
    private AlignedMemory? _memory;

    /// <summary>Takes memory of the pool; nothing is written yet.</summary>
    /// <param name="floats">How many elements.</param>
    internal LentMemory(long floats) => _memory = MemoryPool.Shared.Rent(floats * sizeof(float));

    /// <summary>The first element.</summary>
    internal nint Address => (nint)_memory!.Pointer;

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_memory is { } memory)
            MemoryPool.Shared.Return(memory);
        _memory = null;
    }
}
