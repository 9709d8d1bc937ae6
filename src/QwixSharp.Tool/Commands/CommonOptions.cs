using System.CommandLine;
using System.CommandLine.Parsing;
using System.Text.RegularExpressions;
using QwixSharp.Tool.Output;

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

    /// <summary>Whether the user gave an option, well formed or not.</summary>
    internal static bool Has(this SymbolResult result, Option option) => result.GetResult(option) is { Implicit: false };

    /// <summary>The option of a size such as <c>300MB</c>.</summary>
    internal static Option<long?> Size(string name, string description) => new(name)
    {
        Description = description,
        HelpName = "SIZE",
        CustomParser = result =>
        {
            if (ByteSize.TryParse(result.Tokens[0].Value) is { } bytes)
                return bytes;
            result.AddError($"'{result.Tokens[0].Value}' is no size; write such as 300MB.");
            return null;
        },
    };

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
