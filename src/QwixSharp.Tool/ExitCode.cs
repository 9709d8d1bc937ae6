namespace QwixSharp.Tool;

/// <summary>What the command tells the shell.</summary>
internal static class ExitCode
{
    /// <summary>Done.</summary>
    internal const int Success = 0;

    /// <summary>A file, a rule or the disk did not allow it; nothing was left half-written.</summary>
    internal const int Failure = 1;

    /// <summary>The command line is wrong.</summary>
    internal const int Usage = 2;

    /// <summary>A comparison found differences beyond what was allowed.</summary>
    internal const int Different = 3;

    /// <summary>Stopped by Ctrl-C; nothing was left half-written.</summary>
    internal const int Interrupted = 130;

    /// <summary>The codes as the help shows them.</summary>
    internal const string Help = """
        Exit codes:
          0    done
          1    a file, a rule or the disk did not allow it; no file was touched
          2    the command line is wrong
          3    a comparison found more difference than was allowed
          130  stopped by Ctrl-C; nothing was left half-written
        """;
}
