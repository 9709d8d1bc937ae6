using System.CommandLine;
using System.Text.RegularExpressions;
using QwixSharp.Tool.Analysis;
using QwixSharp.Tool.Output;
using Spectre.Console;

namespace QwixSharp.Tool.Commands;

/// <summary><c>qwix compare</c>: how far two checkpoints are from each other.</summary>
internal sealed class CompareCommand : QwixCommand
{
    private readonly Argument<string> _a = CommonOptions.Checkpoint("A", "The checkpoint to compare with, usually the floating-point one.");
    private readonly Argument<string> _b = CommonOptions.Checkpoint("B", "The checkpoint to judge; what is quantized is dequantized.");
    private readonly Option<Regex?> _include = CommonOptions.Pattern("--include", "Only tensors whose whole name matches.");
    private readonly Option<Regex?> _exclude = CommonOptions.Pattern("--exclude", "No tensors whose whole name matches.");
    private readonly Option<double?> _minSnr = new("--min-snr") { Description = "Fail where a tensor's signal-to-noise ratio is below this many decibels.", HelpName = "DB" };
    private readonly Option<double?> _minCosine = new("--min-cosine") { Description = "Fail where a tensor's cosine is below this.", HelpName = "C" };
    private readonly Option<double?> _maxError = new("--max-error") { Description = "Fail where a value differs by more than this.", HelpName = "E" };
    private readonly Option<string> _sort = new("--sort") { Description = "The order; the worst come first.", DefaultValueFactory = _ => "snr" };
    private readonly Option<int?> _top = new("--top") { Description = "Show only the first so many.", HelpName = "N" };

    internal CompareCommand() : base(
        "compare",
        "Compares two checkpoints tensor by tensor: signal-to-noise ratio, cosine, largest error. Missing tensors, other shapes and thresholds not met give exit code 3.",
        "qwix compare model.safetensors model-int8.safetensors",
        "qwix compare ./model ./model-int4 --min-snr 15 --top 20",
        "qwix compare a.safetensors b.gguf --sort error --json")
    {
        _sort.AcceptOnlyFromAmong("snr", "cosine", "error", "name");
        Add(_a);
        Add(_b);
        foreach (var option in (Option[])[_include, _exclude, _minSnr, _minCosine, _maxError, _sort, _top])
            Add(option);
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult arguments, Terminal terminal, CancellationToken cancel)
    {
        using var pair = CheckpointPair.Open(arguments.GetRequiredValue(_a), arguments.GetRequiredValue(_b), arguments.GetValue(_include), arguments.GetValue(_exclude));
        if (pair.Common.Count == 0 && pair.OtherShape.Count == 0)
            throw new QwixException($"The two have no tensor of one name. {pair.A.Path} has {Some(pair.OnlyInA)}; {pair.B.Path} has {Some(pair.OnlyInB)}.");

        var errors = await terminal.WithProgressAsync("comparing", pair.Bytes, progress => pair.MapAsync(CheckpointPair.Measure, progress, cancel));
        var all = errors.Aggregate(TensorError.None("all"), (sum, e) => sum.Plus(e));
        var failed = errors.Where(e => !IsWithin(e, arguments)).Select(e => e.Name).ToHashSet(StringComparer.Ordinal);
        var shown = Sort(errors, arguments.GetRequiredValue(_sort)).Take(arguments.GetValue(_top) ?? int.MaxValue).ToList();
        bool same = failed.Count == 0 && pair.OtherShape.Count == 0 && pair.OnlyInA.Count == 0 && pair.OnlyInB.Count == 0;
        if (terminal.Json)
            terminal.WriteJson(new { Passed = same, All = all, Tensors = shown, Failed = failed.Order(StringComparer.Ordinal), pair.OtherShape, pair.OnlyInA, pair.OnlyInB });
        else
            Write(terminal, pair, shown, all, failed);
        return same ? ExitCode.Success : ExitCode.Different;
    }

    private bool IsWithin(TensorError error, ParseResult arguments) =>
        !(error.SnrDb < arguments.GetValue(_minSnr))
        && !(error.Cosine < arguments.GetValue(_minCosine))
        && !(error.LargestError > arguments.GetValue(_maxError))
        && !double.IsNaN(error.LargestError);

    private static IEnumerable<TensorError> Sort(IReadOnlyList<TensorError> errors, string order) => order switch
    {
        "snr" => errors.OrderBy(e => e.SnrDb),
        "cosine" => errors.OrderBy(e => e.Cosine),
        "error" => errors.OrderByDescending(e => e.LargestError),
        _ => errors.OrderBy(e => e.Name, StringComparer.Ordinal),
    };

    private static void Write(Terminal terminal, CheckpointPair pair, IReadOnlyList<TensorError> shown, TensorError all, HashSet<string> failed)
    {
        var table = new Table();
        table.AddColumn("tensor", c => c.NoWrap());
        foreach (string head in (string[])["SNR dB", "cosine", "largest error", "RMS error", "values"])
            table.AddColumn(head, c => c.RightAligned().NoWrap());
        foreach (var error in shown.Append(all))
        {
            string[] cells = [error.Name, Format.Number(error.SnrDb, 2), Format.Number(error.Cosine, 6), Format.Short(error.LargestError), Format.Short(error.RootMeanSquareError), Format.Count(error.Values)];
            string style = failed.Contains(error.Name) ? "red" : "default";
            table.AddRow([.. cells.Select(c => $"[{style}]{Markup.Escape(c)}[/]")]);
        }

        terminal.WriteTable(table);
        foreach (var (what, names) in ((string, IReadOnlyList<string>)[])[
            ("beyond a threshold", [.. failed.Order(StringComparer.Ordinal)]), ("of other shapes", pair.OtherShape), ($"only in {pair.A.Path}", pair.OnlyInA), ($"only in {pair.B.Path}", pair.OnlyInB)])
        {
            if (names.Count > 0)
                terminal.WriteLine($"{names.Count} {what}: {Some(names)}");
        }
    }

    private static string Some(IReadOnlyList<string> names)
    {
        const int most = 5;
        return string.Join(", ", names.Take(most)) + (names.Count > most ? $" and {names.Count - most} more" : "");
    }
}
