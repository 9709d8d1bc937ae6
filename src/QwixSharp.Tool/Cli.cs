using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using QwixSharp.Tool.Commands;

namespace QwixSharp.Tool;

/// <summary>The command <c>qwix</c>.</summary>
internal static class Cli
{
    /// <summary>Runs a command line.</summary>
    /// <param name="args">The arguments.</param>
    /// <param name="output">Where results go.</param>
    /// <param name="error">Where progress and errors go.</param>
    /// <returns>One of <see cref="ExitCode"/>.</returns>
    internal static async Task<int> RunAsync(IReadOnlyList<string> args, TextWriter output, TextWriter error)
    {
        var arguments = Create().Parse(args);
        var configuration = new InvocationConfiguration
        {
            Output = output,
            Error = error,
            EnableDefaultExceptionHandler = false,
            ProcessTerminationTimeout = TimeSpan.FromSeconds(30),
        };
        int code = await arguments.InvokeAsync(configuration);
        return arguments.Action is ParseErrorAction ? ExitCode.Usage : code;
    }

    private static RootCommand Create()
    {
        var root = new RootCommand("Quantizes, inspects, compares and converts checkpoints of neural networks.")
        {
            CommonOptions.Json,
            new QuantizeCommand(),
            new InspectCommand(),
            new CompareCommand(),
            new ReportCommand(),
            new DequantizeCommand(),
            new ConvertCommand(),
            new SensitivityCommand(),
            new CompletionCommand(),
        };
        foreach (var help in root.Options.OfType<HelpOption>())
            help.Action = new HelpWithExamples((HelpAction)help.Action!);
        return root;
    }

    private sealed class HelpWithExamples(HelpAction inner) : SynchronousCommandLineAction
    {
        public override int Invoke(ParseResult parseResult)
        {
            inner.Invoke(parseResult);
            var output = parseResult.InvocationConfiguration.Output;
            if (parseResult.CommandResult.Command is not QwixCommand command)
            {
                output.WriteLine(ExitCode.Help);
                return ExitCode.Success;
            }

            output.WriteLine("Examples:");
            foreach (string example in command.Examples)
                output.WriteLine("  " + example);
            return ExitCode.Success;
        }
    }
}
