using System.CommandLine;
using QwixSharp.Tool.Output;

namespace QwixSharp.Tool.Commands;

/// <summary>A command of the tool: its examples, and how its failures become messages and exit codes.</summary>
internal abstract class QwixCommand : Command
{
    /// <summary>Describes a command.</summary>
    protected QwixCommand(string name, string description, params string[] examples) : base(name, description)
    {
        Examples = examples;
        SetAction(InvokeAsync);
    }

    /// <summary>Command lines that the help shows.</summary>
    internal IReadOnlyList<string> Examples { get; }

    /// <summary>Does the work.</summary>
    protected abstract Task<int> RunAsync(ParseResult arguments, Terminal terminal, CancellationToken cancel);

    private async Task<int> InvokeAsync(ParseResult arguments, CancellationToken cancel)
    {
        var terminal = new Terminal(arguments.InvocationConfiguration.Output, arguments.InvocationConfiguration.Error, arguments.GetValue(CommonOptions.Json));
        try
        {
            return await RunAsync(arguments, terminal, cancel);
        }
        catch (Exception e) when (e is OperationCanceledException || cancel.IsCancellationRequested)
        {
            terminal.WriteError("Stopped. Nothing is half-written under the output's name; qwix quantize into a folder goes on from OUT.partial when run again.");
            return ExitCode.Interrupted;
        }
        catch (Exception e) when (e is QwixException or IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            terminal.WriteError(e.Message);
            return ExitCode.Failure;
        }
    }
}
