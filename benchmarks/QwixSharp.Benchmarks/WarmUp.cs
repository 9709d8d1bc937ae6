using System.Diagnostics;
using System.Runtime;

namespace QwixSharp.Benchmarks;

/// <summary>
/// Brings code into the state that it has in a process that runs for long. The runtime compiles methods anew for speed after some
/// tens of calls, on a thread that takes a core from those that are measured.
/// </summary>
internal static class WarmUp
{
    private static readonly TimeSpan Longest = TimeSpan.FromSeconds(10);

    /// <summary>Runs something again and again until nothing was compiled for a while.</summary>
    /// <param name="run">One run.</param>
    /// <param name="fewest">How often it is run at least.</param>
    /// <param name="quiet">For how long nothing may have been compiled.</param>
    public static void Run(Action run, int fewest, TimeSpan quiet)
    {
        long methods = 0;
        Stopwatch watch = Stopwatch.StartNew(), sinceCompiled = Stopwatch.StartNew();
        for (int round = 0; round < fewest || (sinceCompiled.Elapsed < quiet && watch.Elapsed < Longest); round++)
        {
            run();
            if (JitInfo.GetCompiledMethodCount() is var compiled && compiled > methods)
            {
                methods = compiled;
                sinceCompiled.Restart();
            }
        }
    }
}
