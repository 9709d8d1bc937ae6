using System.Runtime.InteropServices;

namespace QwixSharp.Kernels;

/// <summary>Native memory on a 64-byte boundary, cleared, freed by <see cref="SafeHandle.Dispose()"/> (or, as a safety net, by the finalizer).</summary>
internal sealed unsafe partial class AlignedMemory : SafeHandle
{
    /// <summary>In bytes: a line of the cache, and the longest vector.</summary>
    public const int Alignment = 64;

    /// <summary>Memory of this size and more asks for large pages: reading 4 KB after 4 KB, the processor looks up page after page.</summary>
    private const long LargePageBytes = 2L << 20, SmallestInLargePages = 4 * LargePageBytes;

    /// <summary>Linux's name for "please use large pages here".</summary>
    private const int AdviseLargePages = 14;

    /// <summary>Allocates and clears.</summary>
    /// <param name="bytes">The size in bytes; 64 more are readable behind it, so that whole-vector loads at the end are safe.</param>
    public AlignedMemory(long bytes) : base(0, ownsHandle: true)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        Bytes = bytes;
        var size = checked((nuint)bytes + Alignment);
        var inLargePages = OperatingSystem.IsLinux() && bytes >= SmallestInLargePages;
        var memory = NativeMemory.AlignedAlloc(size, inLargePages ? (nuint)LargePageBytes : Alignment);
        // A kernel that has none says no, and small pages it is.
        if (inLargePages)
            _ = Advise(memory, size, AdviseLargePages);
        NativeMemory.Clear(memory, size);
        SetHandle((nint)memory);
        GC.AddMemoryPressure(bytes + Alignment);
    }

    /// <summary>The usable size in bytes.</summary>
    public long Bytes { get; }

    /// <summary>The first byte.</summary>
    public byte* Pointer => (byte*)handle;

    /// <summary>A size, rounded up so that what lies behind is aligned as well.</summary>
    /// <param name="bytes">The size in bytes.</param>
    public static long RoundUp(long bytes) => (bytes + Alignment - 1) & ~(Alignment - 1L);

    /// <summary>The first aligned place in some room: vectors that lie across two lines of the cache take twice as long.</summary>
    /// <param name="room">Where the room begins; it is <see cref="Alignment"/> bytes longer than what is kept there.</param>
    public static byte* RoundUp(void* room) => (byte*)RoundUp((long)room);

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(void* address, nuint length, int advice);

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
