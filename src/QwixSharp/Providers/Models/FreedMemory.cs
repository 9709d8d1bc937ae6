using System.Runtime.InteropServices;

namespace QwixSharp.Providers.Models;

/// <summary>
/// Hands memory that was freed back to the system. The allocator of Linux keeps freed blocks of up to 32 MB for later, so
/// that the memory of a process would not fall when a model's weights are given up.
/// </summary>
internal static partial class FreedMemory
{
    internal static void GiveBack()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        if (!OperatingSystem.IsLinux())
            return;
        try
        {
            _ = malloc_trim(0);
        }
        catch (EntryPointNotFoundException)
        {
            // Another C library than glibc: it has no such call, and needs none.
        }
    }

    [LibraryImport("libc", EntryPoint = "malloc_trim")]
    private static partial int malloc_trim(nuint pad);
}
