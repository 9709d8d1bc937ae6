using System.Runtime.InteropServices;
using System.Text;

namespace QwixSharp.Ops.Training;

/// <summary>
/// Errors in a backward pass. libtorch calls it, and no exception can pass through native code; but what libtorch notes as
/// its last error becomes an exception of TorchSharp's where the user called <c>backward</c>.
/// </summary>
internal static partial class BackwardError
{
    [ThreadStatic]
    private static string? _message;

    /// <summary>Makes the call of <c>backward</c> that is under way on this thread throw.</summary>
    /// <param name="message">What the exception says.</param>
    internal static void Report(string message)
    {
        _message = message;
        Note();
    }

    /// <summary>Notes an error of the same backward pass again, since calls of libtorch since have cleared it.</summary>
    /// <returns>Whether there was one.</returns>
    internal static bool Repeat()
    {
        if (_message is null)
            return false;
        Note();
        return true;
    }

    /// <summary>Forgets the error of an earlier backward pass.</summary>
    internal static void Forget() => _message = null;

    /// <summary>A script that fails with the message: libtorch's interface has no other way to set an error's text.</summary>
    private static void Note()
    {
        var unit = THSJIT_compile($"def fail():\n  assert False, \"{Escaped(_message!)}\"\n");
        THSJIT_CompilationUnit_Invoke(unit, "fail", 0, 0, 0, out _, 0);
    }

    private static string Escaped(string text)
    {
        var result = new StringBuilder();
        foreach (char c in text)
            result.Append(c is '"' ? '\'' : c is '\\' ? '/' : c is >= ' ' and <= '~' ? c : '?');
        return result.ToString();
    }

    [LibraryImport("LibTorchSharp", StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint THSJIT_compile(string script);

    [LibraryImport("LibTorchSharp", StringMarshalling = StringMarshalling.Utf8)]
    private static partial void THSJIT_CompilationUnit_Invoke(nint unit, string method, nint arguments, int length, nint allocator, out sbyte typeCode, int index);
}
