using System.CommandLine;
using System.Text.RegularExpressions;
using QwixSharp.Checkpoints;
using QwixSharp.Rules;
using QwixSharp.Tool.Analysis;
using QwixSharp.Tool.Output;
using Spectre.Console;
using static TorchSharp.torch;

namespace QwixSharp.Tool.Commands;

/// <summary><c>qwix sensitivity</c>: which layers bear how few bits.</summary>
internal sealed class SensitivityCommand : QwixCommand
{
    private static readonly Scheme[] Usual = [.. ((string[])["int8", "int4:32", "nf4:32", "int2:32"]).Select(Scheme.Parse)];

    private readonly Argument<string> _path = CommonOptions.Checkpoint("IN", "A floating-point checkpoint.");
    private readonly Option<Scheme[]> _schemes = new("--schemes")
    {
        Description = "The schemes to try, by commas: a type, or a type and a tile size.",
        HelpName = "QTYPE[:TILE],…",
        DefaultValueFactory = _ => Usual,
        CustomParser = result =>
        {
            try
            {
                return [.. result.Tokens[0].Value.Split(',').Select(Scheme.Parse)];
            }
            catch (ArgumentException e)
            {
                result.AddError(e.Message);
                return null;
            }
        },
    };

    private readonly Option<Regex?> _include = CommonOptions.Pattern("--include", "Only tensors whose whole name matches.");
    private readonly Option<Regex?> _exclude = CommonOptions.Pattern("--exclude", "No tensors whose whole name matches.");
    private readonly Option<long?> _targetSize = CommonOptions.Size("--target-size", "Suggest rules with which the weights take no more than this, such as 300MB.");
    private readonly Option<double?> _targetBits = new("--target-bits") { Description = "Suggest rules with which a weight takes no more than this on average, scales included.", HelpName = "BITS" };
    private readonly Option<string?> _output = new("--output", "-o") { Description = "Write the suggested rules to this file, for qwix quantize --rules.", HelpName = "FILE" };

    internal SensitivityCommand() : base(
        "sensitivity",
        "Measures what each scheme does to each weight, and suggests rules for a size.",
        "qwix sensitivity model.safetensors",
        "qwix sensitivity ./model --schemes int8,int4:32,int3:32 --target-bits 4.5 -o rules.json",
        "qwix quantize ./model ./model-small --rules rules.json")
    {
        Add(_path);
        foreach (var option in (Option[])[_schemes, _include, _exclude, _targetSize, _targetBits, _output])
            Add(option);
        Validators.Add(result =>
        {
            if (result.Has(_targetSize) && result.Has(_targetBits))
                result.AddError("Give either --target-size or --target-bits.");
            if (result.Has(_output) && !result.Has(_targetSize) && !result.Has(_targetBits))
                result.AddError("Rules are suggested for a target: give --target-size or --target-bits.");
        });
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult arguments, Terminal terminal, CancellationToken cancel)
    {
        using var checkpoint = Checkpoint.Open(arguments.GetRequiredValue(_path));
        var schemes = arguments.GetRequiredValue(_schemes);
        var tensors = checkpoint.LogicalTensors.Where(t => IsChosen(t, arguments) && schemes.Any(s => s.Fits(t.Shape))).ToList();
        if (tensors.Count == 0)
            throw new QwixException($"{checkpoint.Path} has no floating-point weight of two axes or more that any of the schemes fits.");
        var layers = await terminal.WithProgressAsync("measuring", tensors.Sum(t => t.ByteLength), progress => MeasureAsync(tensors, schemes, progress, cancel));
        var rules = Suggest(layers, arguments, out var chosen);
        if (rules is not null && arguments.GetValue(_output) is { } path)
            await WholeFile.WriteAsync(path, RuleJson.Write(rules) + "\n", cancel);
        if (terminal.Json)
        {
            terminal.WriteJson(new
            {
                Layers = layers.Select((l, i) => new { l.Name, l.Shape, Schemes = l.Options.Select(o => new { Scheme = o.Scheme.ToString(), o.Bytes, o.SnrDb }), Suggested = chosen is null ? null : l.Options[chosen[i]].Scheme.ToString() }),
                Rules = rules is null ? null : System.Text.Json.Nodes.JsonNode.Parse(RuleJson.Write(rules)),
            });
        }
        else
        {
            Write(terminal, schemes, layers, chosen);
            if (rules is not null)
                terminal.WriteLine(arguments.GetValue(_output) is { } file ? $"Rules: {file}" : $"Rules: {RuleJson.Write(rules)}");
        }

        return ExitCode.Success;
    }

    private bool IsChosen(LogicalTensor tensor, ParseResult arguments) =>
        !tensor.IsQuantized && tensor.Shape.Count >= 2 && tensor.Dtype is ScalarType.Float32 or ScalarType.Float16 or ScalarType.BFloat16 or ScalarType.Float64
        && arguments.GetValue(_include)?.IsMatch(tensor.Name) != false && arguments.GetValue(_exclude)?.IsMatch(tensor.Name) != true;

    private static async Task<IReadOnlyList<LayerSensitivity>> MeasureAsync(IReadOnlyList<LogicalTensor> tensors, IReadOnlyList<Scheme> schemes, ByteProgress progress, CancellationToken cancel)
    {
        var layers = new LayerSensitivity[tensors.Count];
        var options = new ParallelOptions { CancellationToken = cancel, MaxDegreeOfParallelism = Environment.ProcessorCount };
        await Parallel.ForEachAsync(Enumerable.Range(0, tensors.Count), options, (i, stop) =>
        {
            var tensor = tensors[i];
            using var noGrad = no_grad();
            using var weight = tensor.ReadFloat();
            int scaleBits = (int)(8 * weight.element_size());
            var effects = schemes.Where(s => s.Fits(tensor.Shape)).Select(scheme =>
            {
                stop.ThrowIfCancellationRequested();
                return new SchemeEffect(scheme, scheme.BytesOf(tensor.Shape, scaleBits), scheme.Measure(tensor.Name, weight).SnrDb);
            });
            layers[i] = new(tensor.Name, tensor.Shape, [.. effects.OrderByDescending(e => e.SnrDb)]);
            progress.Add(tensor.ByteLength);
            return ValueTask.CompletedTask;
        });
        return layers;
    }

    private IReadOnlyList<QuantizationRule>? Suggest(IReadOnlyList<LayerSensitivity> layers, ParseResult arguments, out int[]? chosen)
    {
        long values = layers.Sum(l => l.Values);
        long? target = arguments.GetValue(_targetBits) is { } bits ? (long)(values * bits / 8) : arguments.GetValue(_targetSize);
        chosen = target is { } bytes ? RuleSuggestion.Choose(layers, bytes) : null;
        return chosen is null ? null : RuleSuggestion.Rules(layers, chosen);
    }

    private static void Write(Terminal terminal, IReadOnlyList<Scheme> schemes, IReadOnlyList<LayerSensitivity> layers, int[]? chosen)
    {
        var table = new Table();
        table.AddColumn("SNR in dB", c => c.NoWrap());
        foreach (var scheme in schemes)
            table.AddColumn(scheme.ToString(), c => c.RightAligned().NoWrap());
        if (chosen is not null)
            table.AddColumn("suggested", c => c.RightAligned().NoWrap());
        foreach (var (i, layer) in layers.Index())
        {
            var cells = schemes.Select(s => layer.Options.FirstOrDefault(o => o.Scheme == s) is { } effect ? Format.Number(effect.SnrDb, 1) : "–");
            table.AddRow([.. cells.Prepend(layer.Name).Concat(chosen is null ? [] : [layer.Options[chosen[i]].Scheme.ToString()]).Select(Markup.Escape)]);
        }

        terminal.WriteTable(table);
        if (chosen is not null)
        {
            long bytes = layers.Select((l, i) => l.Options[chosen[i]].Bytes).Sum(), values = layers.Sum(l => l.Values);
            terminal.WriteLine($"Suggested: {Format.Bytes(bytes)}, {Format.Number(8.0 * bytes / values, 2)} bits a weight");
        }
    }
}
