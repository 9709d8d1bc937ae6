using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using Spectre.Console;

namespace QwixSharp.Tool.Output;

/// <summary>Where a command writes: results to the output, progress and errors to the error stream.</summary>
internal sealed class Terminal
{
    private const int PipedWidth = 240;
    private readonly TextWriter _output;
    private readonly IAnsiConsole _error;

    private static readonly JsonSerializerOptions JsonOptions = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DictionaryKeyPolicy = null,
        WriteIndented = true,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    /// <summary>Writes to two streams; both are plain text without colours where they are no terminal.</summary>
    internal Terminal(TextWriter output, TextWriter error, bool json)
    {
        _output = output;
        Json = json;
        Console = ConsoleOn(output);
        _error = ConsoleOn(error);
    }

    /// <summary>Whether the result is to be one JSON document.</summary>
    internal bool Json { get; }

    /// <summary>The console for results that people read.</summary>
    internal IAnsiConsole Console { get; }

    /// <summary>Writes the result as JSON.</summary>
    internal void WriteJson<T>(T result) => _output.WriteLine(JsonSerializer.Serialize(result, JsonOptions));

    /// <summary>Writes one line of result.</summary>
    internal void WriteLine(string line) => _output.WriteLine(line);

    /// <summary>Writes an error in one line, and as the result where that is JSON.</summary>
    internal void WriteError(string message)
    {
        string line = message.ReplaceLineEndings(" ");
        if (Json)
            WriteJson(new { Error = line });
        _error.Write(new Text($"qwix: {line}\n"));
    }

    /// <summary>Writes a table: with borders on a terminal, in plain columns for pipes.</summary>
    internal void WriteTable(Table table)
    {
        table.Border(Console.Profile.Out.IsTerminal ? TableBorder.Rounded : TableBorder.None);
        Console.Write(table);
    }

    /// <summary>
    /// Runs work that reports bytes done; a bar with rate and time left shows them where the error stream is a terminal.
    /// </summary>
    /// <param name="title">What is done.</param>
    /// <param name="total">Bytes in all.</param>
    /// <param name="work">The work.</param>
    internal async Task<T> WithProgressAsync<T>(string title, long total, Func<ByteProgress, Task<T>> work)
    {
        if (!_error.Profile.Out.IsTerminal || Json)
            return await work(new ByteProgress(null));
        return await _error.Progress()
            .Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), new TransferSpeedColumn(), new RemainingTimeColumn())
            .StartAsync(context => work(new ByteProgress(context.AddTask(Markup.Escape(title), maxValue: Math.Max(1, total)))));
    }

    /// <inheritdoc cref="WithProgressAsync{T}"/>
    internal Task WithProgressAsync(string title, long total, Action<ByteProgress> work) =>
        WithProgressAsync(title, total, progress => Task.Run(() =>
        {
            work(progress);
            return true;
        }));

    private static IAnsiConsole ConsoleOn(TextWriter writer)
    {
        var console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(writer) });
        if (!console.Profile.Out.IsTerminal)
            console.Profile.Width = PipedWidth;
        return console;
    }
}
