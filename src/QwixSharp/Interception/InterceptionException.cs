namespace QwixSharp.Interception;

/// <summary>
/// Interception cannot see a whole model, or an interceptor answered an op with a value of the wrong type.
/// </summary>
public class InterceptionException : QwixException
{
    /// <summary>Creates an error with a message.</summary>
    /// <param name="message">What is wrong, where, and what would be right.</param>
    public InterceptionException(string message) : base(message) { }

    /// <summary>Creates an error that lists what interception cannot see.</summary>
    /// <param name="message">What is wrong, where, and what would be right.</param>
    /// <param name="report">The report that the message is about.</param>
    public InterceptionException(string message, CoverageReport report) : base(message) => Report = report;

    /// <summary>What interception cannot see; null where the error is of another kind.</summary>
    public CoverageReport? Report { get; }
}
