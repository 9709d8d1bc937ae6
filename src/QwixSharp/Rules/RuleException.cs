namespace QwixSharp.Rules;

/// <summary>A rule that cannot be used, or rules that match nothing. The message names the rule, the setting and the remedy.</summary>
public sealed class RuleException : QwixException
{
    /// <summary>Creates an error about a rule.</summary>
    /// <param name="message">The message.</param>
    public RuleException(string message) : base(message) { }

    /// <summary>Creates an error about a rule with the error underneath.</summary>
    /// <param name="message">The message.</param>
    /// <param name="innerException">The error underneath.</param>
    public RuleException(string message, Exception innerException) : base(message, innerException) { }
}
