namespace QwixSharp.Checkpoints.Files;

/// <summary>Words for what the file system refuses.</summary>
internal static class FileErrors
{
    internal static bool IsFileError(Exception error) => error is IOException or UnauthorizedAccessException or NotSupportedException;

    internal static string Describe(Exception error) => error switch
    {
        FileNotFoundException or DirectoryNotFoundException => "there is no such file. Check the path.",
        UnauthorizedAccessException => "access is denied. Check that it is a file, and its permissions.",
        _ => error.Message.ReplaceLineEndings(" "),
    };

    /// <summary>Does something with files.</summary>
    /// <exception cref="CheckpointException">The file system refuses it.</exception>
    internal static void Guard(string failed, Action action)
    {
        try
        {
            action();
        }
        catch (Exception error) when (IsFileError(error))
        {
            throw new CheckpointException($"{failed}: {Describe(error)}", error);
        }
    }
}
