using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;

namespace QwixSharp.Samples.Common;

/// <summary>
/// The most memory that the process has had at once since a point in time, beyond what it had then. On Linux the system
/// keeps the peak; elsewhere it is the largest of the samples that were taken.
/// </summary>
/// <remarks>
/// A C library may hold more than is in use: with glibc 2.36, holes in the heap grow with every step of a training whose batches
/// differ in length. So large blocks are mapped one by one while memory is watched, and are gone as soon as they are freed.
/// That costs time; do not time the same work.
/// </remarks>
public sealed partial class PeakMemory : IDisposable
{
    private const int MapThreshold = -3;
    private const int WatchedThreshold = 64 << 10;

    /// <summary>The largest that glibc comes to by itself.</summary>
    private const int UsualThreshold = 32 << 20;

    private readonly long _before;
    private long _sampled;

    /// <summary>Begins to watch. Memory that was freed before is given back to the system first.</summary>
    public PeakMemory()
    {
        TryCall(() => SetOption(MapThreshold, WatchedThreshold));
        Clear();
        _before = Current;
    }

    /// <summary>The peak so far, in bytes, beyond what there was at the beginning.</summary>
    public long Bytes => Math.Max(0, (OperatingSystem.IsLinux() ? Status("VmHWM:") : _sampled) - _before);

    private static long Current => OperatingSystem.IsLinux() ? Status("VmRSS:") : Process.GetCurrentProcess().WorkingSet64;

    /// <summary>Looks at how much memory there is now.</summary>
    public void Sample()
    {
        if (!OperatingSystem.IsLinux())
            _sampled = Math.Max(_sampled, Current);
    }

    /// <summary>Forgets the peak so far: what there is now is the peak.</summary>
    public void Restart()
    {
        Clear();
        _sampled = Current;
    }

    /// <summary>Ends the watch.</summary>
    public void Dispose() => TryCall(() => SetOption(MapThreshold, UsualThreshold));

    private static void Clear()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        TryCall(() => Trim(0));
        if (OperatingSystem.IsLinux())
            File.WriteAllText("/proc/self/clear_refs", "5"); // the system's peak is what there is now
    }

    private static long Status(string name)
    {
        var line = File.ReadLines("/proc/self/status").First(l => l.StartsWith(name, StringComparison.Ordinal));
        return 1024 * long.Parse(line.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture);
    }

    private static void TryCall(Func<int> call)
    {
        if (!OperatingSystem.IsLinux())
            return;
        try
        {
            _ = call();
        }
        catch (EntryPointNotFoundException)
        {
            // A C library that keeps no freed memory.
        }
    }

    [LibraryImport("libc", EntryPoint = "malloc_trim")]
    private static partial int Trim(nuint pad);

    [LibraryImport("libc", EntryPoint = "mallopt")]
    private static partial int SetOption(int option, int value);
}
