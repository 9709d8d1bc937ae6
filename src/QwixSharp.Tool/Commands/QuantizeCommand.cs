using System.CommandLine;
using QwixSharp.Arrays;
using QwixSharp.Checkpoints;
using QwixSharp.Numerics;
using QwixSharp.Rules;
using QwixSharp.Tool.Output;
using Spectre.Console;
using static TorchSharp.torch;

namespace QwixSharp.Tool.Commands;

/// <summary><c>qwix quantize</c>: quantizes a checkpoint of any size.</summary>
internal sealed class QuantizeCommand : QwixCommand
{
    private readonly Argument<string> _input = CommonOptions.Checkpoint("IN", "A floating-point checkpoint.");
    private readonly Argument<string> _output = CommonOptions.Checkpoint("OUT", "A .safetensors file, or a folder; it must not be there yet.");
    private readonly Option<string?> _rules = new("--rules") { Description = "A file of rules as JSON.", HelpName = "FILE" };
    private readonly Option<string?> _weightQType = new("--weight-qtype") { Description = "One rule for all: the type of weights, such as int8, int4 or nf4.", HelpName = "QTYPE" };
    private readonly Option<long?> _tileSize = new("--tile-size") { Description = "Values along the contraction that share a scale; unless given a channel has one.", HelpName = "N" };
    private readonly Option<string?> _actQType = new("--act-qtype") { Description = "The type of activations when the model is served; stored with the weights.", HelpName = "QTYPE" };
    private readonly Option<string?> _calibration = new("--calibration") { Description = "How ranges are found: absmax, minmax, or such as absmax,0.9.", HelpName = "METHOD" };
    private readonly Option<string?> _scaleDtype = new("--scale-dtype") { Description = "Rounds scales to float16 or bfloat16, and stores them so.", HelpName = "DTYPE" };
    private readonly Option<string?> _include = new("--include") { Description = "Only modules whose whole path matches.", HelpName = "RE" };
    private readonly Option<string?> _exclude = new("--exclude") { Description = "No modules whose whole path matches.", HelpName = "RE" };
    private readonly Option<long?> _shardSize = CommonOptions.Size("--max-shard-size", "The bytes of tensors that a file of a folder may have, such as 2GB.");
    private readonly Option<int?> _threads = new("--threads") { Description = "How many threads work; all processors unless given.", HelpName = "N" };
    private readonly Option<bool> _dryRun = new("--dry-run") { Description = "Only print what the rules would do to each tensor." };
    private readonly Option<bool> _noVerify = new("--no-verify") { Description = "Do not read the result again and compare it." };

    internal QuantizeCommand() : base(
        "quantize",
        "Quantizes the weights of a checkpoint, tensor by tensor, whatever its size. A folder that was interrupted goes on where it stopped.",
        "qwix quantize ./model ./model-int8 --weight-qtype int8 --act-qtype int8",
        "qwix quantize model.safetensors small.safetensors --weight-qtype int4 --tile-size 32 --exclude 'lm_head|.*embed.*'",
        "qwix quantize ./model ./model-mixed --rules rules.json --dry-run")
    {
        Add(_input);
        Add(_output);
        _scaleDtype.AcceptOnlyFromAmong("float16", "bfloat16");
        foreach (var option in (Option[])[_rules, _weightQType, _tileSize, _actQType, _calibration, _scaleDtype, _include, _exclude, _shardSize, _threads, _dryRun, _noVerify])
            Add(option);
        Validators.Add(result =>
        {
            bool hasRules = result.Has(_rules), hasType = result.Has(_weightQType);
            if (hasRules == hasType)
                result.AddError("Give either --rules or --weight-qtype.");
            if (hasRules && (result.Has(_tileSize) || ((Option[])[_actQType, _calibration, _scaleDtype, _include, _exclude]).Any(o => result.Has(o))))
                result.AddError("--tile-size, --act-qtype, --calibration, --scale-dtype, --include and --exclude are for --weight-qtype; with --rules, write them into the rules.");
        });
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult arguments, Terminal terminal, CancellationToken cancel)
    {
        string target = arguments.GetRequiredValue(_output);
        var quantizer = new CheckpointQuantizer(await ReadRulesAsync(arguments, cancel))
        {
            Threads = arguments.GetValue(_threads) ?? Environment.ProcessorCount,
            MaxShardSize = arguments.GetValue(_shardSize) ?? SafetensorsWriter.DefaultShardSize,
        };
        using var source = Checkpoint.Open(arguments.GetRequiredValue(_input));
        var plan = quantizer.Plan(source);
        bool isDry = arguments.GetValue(_dryRun);
        if (!isDry)
        {
            await terminal.WithProgressAsync("quantizing", plan.BytesBefore, progress => quantizer.Run(source, target, progress, cancel));
            if (!arguments.GetValue(_noVerify))
                await terminal.WithProgressAsync("verifying", plan.BytesBefore, progress => quantizer.Verify(source, target, progress, cancel));
        }

        if (terminal.Json)
            WriteJson(terminal, target, plan, isDry);
        else
            Write(terminal, target, plan, isDry);
        return ExitCode.Success;
    }

    private async Task<IReadOnlyList<QuantizationRule>> ReadRulesAsync(ParseResult arguments, CancellationToken cancel)
    {
        if (arguments.GetValue(_rules) is { } file)
            return RuleJson.Parse(await File.ReadAllTextAsync(file, cancel));
        var rule = new QuantizationRule
        {
            ModulePath = arguments.GetValue(_include) ?? ".*",
            WeightQType = QType.Parse(arguments.GetRequiredValue(_weightQType)!),
            ActQType = arguments.GetValue(_actQType) is { } act ? QType.Parse(act) : null,
            TileSize = arguments.GetValue(_tileSize) is { } tile ? new TileSize(tile) : null,
            WeightCalibrationMethod = arguments.GetValue(_calibration) is { } method ? CalibrationMethod.Parse(method) : CalibrationMethod.AbsMax(),
            WeightScaleDtype = arguments.GetValue(_scaleDtype) switch { null => null, "float16" => ScalarType.Float16, _ => ScalarType.BFloat16 },
        };
        return arguments.GetValue(_exclude) is { } exclude ? [new QuantizationRule { ModulePath = exclude }, rule] : [rule];
    }

    private static void WriteJson(Terminal terminal, string target, CheckpointQuantizationPlan plan, bool isDry) => terminal.WriteJson(new
    {
        Path = target,
        DryRun = isDry,
        plan.BytesBefore,
        plan.BytesAfter,
        Tensors = plan.Tensors.Select(t => new
        {
            t.Tensor.Name,
            Before = t.Tensor.Description,
            After = Describe(t),
            Rule = t.Rule?.ToString(),
            t.Reason,
            t.BytesBefore,
            t.BytesAfter,
        }),
    });

    private static void Write(Terminal terminal, string target, CheckpointQuantizationPlan plan, bool isDry)
    {
        if (isDry)
        {
            var table = new Table();
            foreach (string head in (string[])["tensor", "shape", "stored as", "becomes", "by"])
                table.AddColumn(head, c => c.NoWrap());
            table.AddColumn("before", c => c.RightAligned().NoWrap());
            table.AddColumn("after", c => c.RightAligned().NoWrap());
            foreach (var planned in plan.Tensors)
            {
                string[] cells = [
                    planned.Tensor.Name, Format.Shape(planned.Tensor.Shape), planned.Tensor.Description, Describe(planned),
                    planned.Quantization is null ? planned.Reason : planned.Rule!.ToString(), Format.Bytes(planned.BytesBefore), Format.Bytes(planned.BytesAfter)];
                table.AddRow([.. cells.Select(Markup.Escape)]);
            }

            terminal.WriteTable(table);
        }

        int quantized = plan.Tensors.Count(t => t.Quantization is not null);
        terminal.WriteLine($"{(isDry ? "Would quantize" : "Quantized")} {quantized} of {plan.Tensors.Count} tensors: {Format.Bytes(plan.BytesBefore)} → {Format.Bytes(plan.BytesAfter)} ({Format.Number(100.0 * plan.BytesAfter / Math.Max(1, plan.BytesBefore), 1)}%){(isDry ? "" : $" in {target}")}");
    }

    private static string Describe(PlannedTensor planned) =>
        planned.Quantization is { } quantization ? $"{quantization.QType}, scales {Format.Shape(quantization.ScaleShape)}" : "copied";
}
