using System.CommandLine;
using System.Text.RegularExpressions;

namespace QwixSharp.Tool.Commands;

/// <summary>Options and arguments that several commands share.</summary>
internal static class CommonOptions
{
    /// <summary>Results as JSON; on every command.</summary>
    internal static Option<bool> Json { get; } = new("--json")
    {
        Description = "Write the result as one JSON document.",
        Recursive = true,
    };

    /// <summary>Permission to replace what is there.</summary>
    internal static Option<bool> Force { get; } = new("--force", "-f") { Description = "Replace an output that is there already." };

    /// <summary>A checkpoint to read.</summary>
    internal static Argument<string> Checkpoint(string name, string description) => new(name) { Description = description };

    /// <summary>A regular expression that some names match whole.</summary>
    internal static Option<Regex?> Pattern(string name, string description) => new(name)
    {
        Description = description,
        HelpName = "RE",
        CustomParser = result =>
        {
            string text = result.Tokens[0].Value;
            try
            {
                return new Regex($"^(?:{text})$", RegexOptions.CultureInvariant, TimeSpan.FromSeconds(1));
            }
            catch (ArgumentException e)
            {
                result.AddError($"'{text}' is not a regular expression: {e.Message}");
                return null;
            }
        },
    };
}
