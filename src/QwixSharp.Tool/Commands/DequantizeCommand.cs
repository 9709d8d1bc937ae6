using System.CommandLine;
using QwixSharp.Checkpoints;
using QwixSharp.Tool.Output;
using static TorchSharp.torch;

namespace QwixSharp.Tool.Commands;

/// <summary><c>qwix dequantize</c>: any checkpoint as floating-point safetensors.</summary>
internal sealed class DequantizeCommand : QwixCommand
{
    private static readonly Dictionary<string, (ScalarType Type, CheckpointDtype Stored)> Dtypes = new()
    {
        ["f64"] = (ScalarType.Float64, CheckpointDtype.Float64),
        ["f32"] = (ScalarType.Float32, CheckpointDtype.Float32),
        ["bf16"] = (ScalarType.BFloat16, CheckpointDtype.BFloat16),
        ["f16"] = (ScalarType.Float16, CheckpointDtype.Float16),
    };

    private readonly Argument<string> _input = CommonOptions.Checkpoint("IN", "A checkpoint of any readable format and layout.");
    private readonly Argument<string> _output = CommonOptions.Checkpoint("OUT", "A .safetensors file, or a folder.");
    private readonly Option<string?> _dtype = new("--dtype") { Description = "The dtype of all floating-point tensors: f32, bf16, f16 or f64. Unless given, each has that of its scales.", HelpName = "DTYPE" };

    internal DequantizeCommand() : base(
        "dequantize",
        "Writes a checkpoint in floating point: what is quantized is dequantized.",
        "qwix dequantize model.gguf model.safetensors --dtype bf16",
        "qwix dequantize ./model-gptq ./model-float")
    {
        _dtype.AcceptOnlyFromAmong([.. Dtypes.Keys]);
        Add(_input);
        Add(_output);
        Add(_dtype);
        Add(CommonOptions.Force);
    }

    /// <inheritdoc/>
    protected override async Task<int> RunAsync(ParseResult arguments, Terminal terminal, CancellationToken cancel)
    {
        string input = arguments.GetRequiredValue(_input);
        var destination = Destination.Check(input, arguments.GetRequiredValue(_output), arguments.GetValue(CommonOptions.Force));
        string? dtype = arguments.GetValue(_dtype);
        using var checkpoint = Checkpoint.Open(input);
        var tensors = checkpoint.LogicalTensors;
        TensorEntry[] entries = [.. tensors.Select(t => EntryOf(t, dtype))];
        using var writer = destination.Create(entries, null);

        await terminal.WithProgressAsync("dequantizing", tensors.Sum(t => t.Stored.Sum(s => s.ByteLength)), async done =>
        {
            var options = new ParallelOptions { CancellationToken = cancel, MaxDegreeOfParallelism = Environment.ProcessorCount };
            await Parallel.ForEachAsync(tensors, options, (tensor, _) =>
            {
                using var noGrad = no_grad();
                using var scope = NewDisposeScope();
                writer.Write(tensor.Name, tensor.ReadFloat(TargetOf(tensor, dtype)?.Type));
                done(tensor.Stored.Sum(s => s.ByteLength));
                return ValueTask.CompletedTask;
            });
            return tensors.Count;
        });
        writer.Complete();
        await destination.CopyCompanionsAsync(cancel);
        long bytes = entries.Sum(e => e.ByteLength);
        if (terminal.Json)
            terminal.WriteJson(new { destination.Path, Tensors = tensors.Count, Bytes = bytes });
        else
            terminal.WriteLine($"{destination.Path}: {tensors.Count} tensors, {Format.Bytes(bytes)}");
        return ExitCode.Success;
    }

    /// <summary>The floating-point dtype in which a tensor is written; null for what is no floating-point tensor.</summary>
    private static (ScalarType Type, CheckpointDtype Stored)? TargetOf(LogicalTensor tensor, string? dtype)
    {
        var own = Dtypes.Values.Where(d => d.Type == tensor.Dtype).ToList();
        return own.Count == 0 ? null : dtype is null ? own[0] : Dtypes[dtype];
    }

    private static TensorEntry EntryOf(LogicalTensor tensor, string? dtype) =>
        new(tensor.Name, TargetOf(tensor, dtype)?.Stored ?? tensor.Stored[0].Dtype, [.. tensor.Shape]);
}
