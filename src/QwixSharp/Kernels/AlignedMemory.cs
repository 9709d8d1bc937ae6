using System.Runtime.InteropServices;

namespace QwixSharp.Kernels;

/// <summary>Native memory on a 64-byte boundary, cleared, freed by <see cref="SafeHandle.Dispose()"/> (or, as a safety net, by the finalizer).</summary>
internal sealed unsafe class AlignedMemory : SafeHandle
{
    private const int Alignment = 64;

    /// <summary>Allocates and clears.</summary>
    /// <param name="bytes">The size in bytes; 64 more are readable behind it, so that whole-vector loads at the end are safe.</param>
    public AlignedMemory(long bytes) : base(0, ownsHandle: true)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        Bytes = bytes;
        var size = checked((nuint)bytes + Alignment);
        var memory = NativeMemory.AlignedAlloc(size, Alignment);
        NativeMemory.Clear(memory, size);
        SetHandle((nint)memory);
        GC.AddMemoryPressure(bytes + Alignment);
    }

    /// <summary>The usable size in bytes.</summary>
    public long Bytes { get; }

    /// <summary>The first byte.</summary>
    public byte* Pointer => (byte*)handle;

    /// <inheritdoc/>
    public override bool IsInvalid => handle == 0;

    /// <inheritdoc/>
    protected override bool ReleaseHandle()
    {
        NativeMemory.AlignedFree((void*)handle);
        GC.RemoveMemoryPressure(Bytes + Alignment);
        return true;
    }
}
