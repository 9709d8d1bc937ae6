using System.Text.Json;

namespace QwixSharp.Tool.Tests;

/// <summary>What a run of the command gave.</summary>
internal sealed record Outcome(int Code, string Output, string Error)
{
    /// <summary>The output as JSON.</summary>
    public JsonElement Json => JsonDocument.Parse(Output).RootElement;
}

/// <summary>Runs the command in this process.</summary>
internal static class Command
{
    public static async Task<Outcome> Run(params string[] args)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        int code = await Cli.RunAsync(args, output, error);
        return new(code, output.ToString(), error.ToString());
    }

    /// <summary>Runs a command that must succeed.</summary>
    public static async Task<Outcome> Succeed(params string[] args)
    {
        var outcome = await Run(args);
        Assert.True(outcome.Code == ExitCode.Success, $"qwix {string.Join(' ', args)} gave {outcome.Code}: {outcome.Error}");
        return outcome;
    }

    /// <summary>Runs a command that must fail, with one line of error and nothing else.</summary>
    public static async Task Fail(string message, params string[] args)
    {
        var outcome = await Run(args);
        Assert.Equal(ExitCode.Failure, outcome.Code);
        Assert.Equal("", outcome.Output);
        Assert.StartsWith("qwix: ", outcome.Error);
        Assert.Single(outcome.Error.TrimEnd().Split('\n'));
        Assert.Contains(message, outcome.Error);
    }
}
