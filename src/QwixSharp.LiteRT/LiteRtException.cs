namespace QwixSharp.LiteRT;

/// <summary>
/// A model that cannot be written as a LiteRT file, or a file that is not a sound LiteRT model. The message names the op,
/// the module path and the parameter, or the place in the file, and says what would be right.
/// </summary>
public sealed class LiteRtException : QwixException
{
    /// <summary>Creates an error with a message that says what is wrong, where, and what to do.</summary>
    /// <param name="message">The message.</param>
    public LiteRtException(string message) : base(message) { }

    /// <summary>Creates an error with a message and the error that led to it.</summary>
    /// <param name="message">The message.</param>
    /// <param name="innerException">The error underneath.</param>
    public LiteRtException(string message, Exception innerException) : base(message, innerException) { }
}
