using System.Diagnostics;
using System.Runtime.InteropServices;

namespace QwixSharp.Benchmarks;

/// <summary>What measurements are taken with.</summary>
internal static unsafe partial class Clock
{
    private const int ThreadProcessorTime = 3;

    /// <summary>The time, in milliseconds from some point on.</summary>
    /// <param name="ofProcessor">Whether to count the processor time of the calling thread instead of the time that passes. Linux alone.</param>
    internal static double Milliseconds(bool ofProcessor)
    {
        if (!ofProcessor)
            return Stopwatch.GetTimestamp() * 1000.0 / Stopwatch.Frequency;
        var time = stackalloc long[2];
        _ = ClockGetTime(ThreadProcessorTime, time);
        return time[0] * 1e3 + time[1] / 1e6;
    }

    [LibraryImport("libc", EntryPoint = "clock_gettime")]
    private static partial int ClockGetTime(int clock, long* time);
}
