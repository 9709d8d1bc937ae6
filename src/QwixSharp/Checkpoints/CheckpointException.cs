namespace QwixSharp.Checkpoints;

/// <summary>A checkpoint that cannot be read or written. The message, one line, names the file, the tensor and the remedy.</summary>
public sealed class CheckpointException : QwixException
{
    /// <summary>Creates an error about a checkpoint.</summary>
    /// <param name="message">The message.</param>
    public CheckpointException(string message) : base(message) { }

    /// <summary>Creates an error about a checkpoint with the error underneath.</summary>
    /// <param name="message">The message.</param>
    /// <param name="innerException">The error underneath.</param>
    public CheckpointException(string message, Exception innerException) : base(message, innerException) { }

    /// <summary>
    /// A name from a file, in quotes, fit for a message: of bounded length, and without control characters, which could
    /// break the line or steer a terminal.
    /// </summary>
    internal static string Quote(string name)
    {
        const int longest = 120;
        var text = name.Length <= longest ? name : name[..longest] + "…";
        return "\"" + string.Concat(text.Select(c => char.IsControl(c) || char.IsSurrogate(c) ? $"\\u{(int)c:x4}" : c.ToString())) + "\"";
    }

    /// <summary>Where JSON goes wrong. The reader's own message is not used: it quotes the text at length.</summary>
    internal static string Describe(System.Text.Json.JsonException error) =>
        $"it goes wrong in line {error.LineNumber + 1} at byte {error.BytePositionInLine}";
}
