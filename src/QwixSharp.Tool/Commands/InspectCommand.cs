using System.CommandLine;
using System.Text.RegularExpressions;
using QwixSharp.Checkpoints;
using QwixSharp.Tool.Output;
using Spectre.Console;

namespace QwixSharp.Tool.Commands;

/// <summary><c>qwix inspect</c>: what is in a checkpoint.</summary>
internal sealed class InspectCommand : QwixCommand
{
    private const int MetadataValueWidth = 100;

    private readonly Argument<string> _path = CommonOptions.Checkpoint("PATH", "A safetensors, GGUF, PyTorch or .tflite file, or a folder that holds a checkpoint.");
    private readonly Option<Regex?> _include = CommonOptions.Pattern("--include", "Only tensors whose whole name matches.");
    private readonly Option<bool> _stored = new("--stored") { Description = "List the stored tensors (codes, scales, …), not what they stand for." };

    internal InspectCommand() : base(
        "inspect",
        "Lists a checkpoint's tensors: dtypes, shapes, sizes, quantization; of a .tflite file its ops too.",
        "qwix inspect model.safetensors",
        "qwix inspect ./Llama-3.2-1B --include '.*mlp.*'",
        "qwix inspect model.gguf --json",
        "qwix inspect model.tflite")
    {
        Add(_path);
        Add(_include);
        Add(_stored);
    }

    /// <inheritdoc/>
    protected override Task<int> RunAsync(ParseResult arguments, Terminal terminal, CancellationToken cancel)
    {
        string path = arguments.GetRequiredValue(_path);
        if (LiteRtInspection.Recognizes(path))
        {
            LiteRtInspection.Write(terminal, path);
            return Task.FromResult(ExitCode.Success);
        }

        using var checkpoint = Checkpoint.Open(path);
        var include = arguments.GetValue(_include);
        var rows = (arguments.GetValue(_stored) ? Stored(checkpoint) : Logical(checkpoint)).Where(r => include?.IsMatch(r.Name) != false).ToList();
        if (terminal.Json)
        {
            terminal.WriteJson(new
            {
                checkpoint.Path,
                checkpoint.Format,
                Layout = checkpoint.Layout.Name,
                Values = rows.Sum(r => r.Values),
                Bytes = rows.Sum(r => r.Bytes),
                checkpoint.Metadata,
                Tensors = rows,
            });
        }
        else
        {
            Write(terminal, checkpoint, rows);
        }

        return Task.FromResult(ExitCode.Success);
    }

    private static void Write(Terminal terminal, Checkpoint checkpoint, IReadOnlyList<Row> rows)
    {
        var table = new Table();
        foreach (string head in (string[])["tensor", "stored as", "shape"])
            table.AddColumn(head, c => c.NoWrap());
        foreach (string head in (string[])["values", "size", "bits/value"])
            table.AddColumn(head, c => c.RightAligned().NoWrap());
        foreach (var row in rows)
        {
            table.AddRow([.. ((string[])[
                row.Name, row.StoredAs, Format.Shape(row.Shape), Format.Count(row.Values), Format.Bytes(row.Bytes),
                Format.Number(row.BitsPerValue, 2)]).Select(Markup.Escape)]);
        }

        terminal.WriteTable(table);
        terminal.WriteLine("");
        terminal.WriteLine($"{checkpoint.Path}: {checkpoint.Format}, layout {checkpoint.Layout.Name}");
        terminal.WriteLine($"{Format.Count(rows.Count)} tensors, {Format.Count(rows.Sum(r => r.Values))} values, {Format.Bytes(rows.Sum(r => r.Bytes))}");
        foreach (var (key, value) in checkpoint.Metadata.OrderBy(m => m.Key, StringComparer.Ordinal))
            terminal.WriteLine($"  {key}: {(value.Length <= MetadataValueWidth ? value : value[..MetadataValueWidth] + "…").ReplaceLineEndings(" ")}");
    }

    private static IEnumerable<Row> Logical(Checkpoint checkpoint) =>
        checkpoint.LogicalTensors.Select(t => new Row(t.Name, t.Description, t.Shape, t.ByteLength));

    private static IEnumerable<Row> Stored(Checkpoint checkpoint) =>
        checkpoint.Tensors.Select(t => new Row(t.Name, t.TypeName, t.Shape, t.ByteLength));

    private sealed record Row(string Name, string StoredAs, IReadOnlyList<long> Shape, long Bytes)
    {
        public long Values => Shape.Aggregate(1L, (a, b) => a * b);

        public double BitsPerValue => Values == 0 ? 0 : 8.0 * Bytes / Values;
    }
}
