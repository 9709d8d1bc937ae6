using System.Runtime.InteropServices;

namespace QwixSharp.Kernels.Assembled;

/// <summary>Memory that holds assembled code: mapped writable, filled, then made executable and no longer writable.</summary>
internal sealed unsafe partial class ExecutableMemory : SafeHandle
{
    private const int ProtRead = 1, ProtWrite = 2, ProtExec = 4, MapPrivate = 2;
    private const uint MemCommitReserve = 0x3000, MemRelease = 0x8000, PageReadWrite = 4, PageExecuteRead = 0x20;

    private readonly nuint _size;

    private ExecutableMemory(nint address, nuint size) : base(0, ownsHandle: true)
    {
        SetHandle(address);
        _size = size;
    }

    /// <summary>The first instruction.</summary>
    public void* Entry => (void*)handle;

    /// <inheritdoc/>
    public override bool IsInvalid => handle == 0;

    /// <summary>Maps code. Null when the system does not allow it.</summary>
    /// <param name="code">Position-independent machine code.</param>
    public static ExecutableMemory? TryMap(ReadOnlySpan<byte> code)
    {
        var size = (nuint)((code.Length + Environment.SystemPageSize - 1) / Environment.SystemPageSize * Environment.SystemPageSize);
        var memory = OperatingSystem.IsWindows() ? MapOnWindows(size) : MapOnUnix(size);
        if (memory is null)
            return null;
        code.CopyTo(new Span<byte>(memory.Entry, code.Length));
        if (memory.MakeExecutable())
            return memory;
        memory.Dispose();
        return null;
    }

    /// <inheritdoc/>
    protected override bool ReleaseHandle() =>
        OperatingSystem.IsWindows() ? VirtualFree((void*)handle, 0, MemRelease) != 0 : Unmap((void*)handle, _size) == 0;

    private static ExecutableMemory? MapOnWindows(nuint size)
    {
        var address = VirtualAlloc(null, size, MemCommitReserve, PageReadWrite);
        return address == null ? null : new ExecutableMemory((nint)address, size);
    }

    private static ExecutableMemory? MapOnUnix(nuint size)
    {
        var anonymous = OperatingSystem.IsMacOS() || OperatingSystem.IsFreeBSD() ? 0x1000 : 0x20;
        var address = Map(null, size, ProtRead | ProtWrite, MapPrivate | anonymous, -1, 0);
        return (nint)address is -1 or 0 ? null : new ExecutableMemory((nint)address, size);
    }

    private bool MakeExecutable() => OperatingSystem.IsWindows()
        ? VirtualProtect(Entry, _size, PageExecuteRead, out _) != 0
        : Protect(Entry, _size, ProtRead | ProtExec) == 0;

    [LibraryImport("libc", EntryPoint = "mmap")]
    private static partial void* Map(void* address, nuint size, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "mprotect")]
    private static partial int Protect(void* address, nuint size, int protection);

    [LibraryImport("libc", EntryPoint = "munmap")]
    private static partial int Unmap(void* address, nuint size);

    [LibraryImport("kernel32")]
    private static partial void* VirtualAlloc(void* address, nuint size, uint kind, uint protection);

    [LibraryImport("kernel32")]
    private static partial int VirtualProtect(void* address, nuint size, uint protection, out uint old);

    [LibraryImport("kernel32")]
    private static partial int VirtualFree(void* address, nuint size, uint kind);
}
