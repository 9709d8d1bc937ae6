using System.CommandLine;
using System.Text.RegularExpressions;
using QwixSharp.Tool.Analysis;
using QwixSharp.Tool.Output;
using QwixSharp.Tool.Reports;

namespace QwixSharp.Tool.Commands;

/// <summary><c>qwix report</c>: the comparison of two checkpoints as a page.</summary>
internal sealed class ReportCommand : QwixCommand
{
    private readonly Argument<string> _a = CommonOptions.Checkpoint("A", "The checkpoint before quantization.");
    private readonly Argument<string> _b = CommonOptions.Checkpoint("B", "The checkpoint after quantization.");
    private readonly Option<string> _output = new("--output", "-o") { Description = "The page to write.", HelpName = "FILE", DefaultValueFactory = _ => "report.html" };
    private readonly Option<Regex?> _include = CommonOptions.Pattern("--include", "Only tensors whose whole name matches.");
    private readonly Option<Regex?> _exclude = CommonOptions.Pattern("--exclude", "No tensors whose whole name matches.");

    internal ReportCommand() : base(
        "report",
        "Writes one HTML page about what quantization did: errors, weights before and after, sizes, worst layers first.",
        "qwix report model.safetensors model-int4.safetensors -o report.html")
    {
        Add(_a);
        Add(_b);
        Add(_output);
        Add(_include);
        Add(_exclude);
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult arguments, Terminal terminal, CancellationToken cancel)
    {
        string path = arguments.GetRequiredValue(_output);
        using var pair = CheckpointPair.Open(arguments.GetRequiredValue(_a), arguments.GetRequiredValue(_b), arguments.GetValue(_include), arguments.GetValue(_exclude));
        if (pair.Common.Count == 0)
            throw new QwixException($"{pair.A.Path} and {pair.B.Path} have no tensor of one name and shape, so that there is nothing to report.");
        var reports = await terminal.WithProgressAsync("comparing", pair.Bytes, progress => pair.MapAsync(TensorReport.Of, progress, cancel));
        await WholeFile.WriteAsync(path, ReportPage.Write(pair, reports), cancel);
        if (terminal.Json)
            terminal.WriteJson(new { Path = path, Tensors = reports.Count });
        else
            terminal.WriteLine($"{path}: {reports.Count} tensors");
        return ExitCode.Success;
    }
}
