namespace QwixSharp;

/// <summary>
/// The base of all errors that QwixSharp reports about a model, a rule, a checkpoint or a quantized array.
/// Its message names the module path, parameter or op that is at fault and says what would be right.
/// </summary>
/// <remarks>Errors in the arguments of a single call are <see cref="ArgumentException"/>s instead.</remarks>
public class QwixException : Exception
{
    /// <summary>Creates an error with a message that says what is wrong, where, and what to do.</summary>
    /// <param name="message">The message.</param>
    public QwixException(string message) : base(message) { }

    /// <summary>Creates an error with a message and the error that led to it.</summary>
    /// <param name="message">The message.</param>
    /// <param name="innerException">The error underneath.</param>
    public QwixException(string message, Exception innerException) : base(message, innerException) { }
}
