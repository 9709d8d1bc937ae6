namespace QwixSharp.Checkpoints.Files;

/// <summary>Words for what the file system refuses.</summary>
internal static class FileErrors
{
    internal static string Describe(Exception error) => error switch
    {
        FileNotFoundException or DirectoryNotFoundException => "there is no such file. Check the path.",
        UnauthorizedAccessException => "access is denied. Check that it is a file, and its permissions.",
        _ => error.Message.ReplaceLineEndings(" "),
    };
}
