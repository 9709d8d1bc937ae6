using System.CommandLine;
using QwixSharp.Checkpoints;
using QwixSharp.Tool.Output;
using static TorchSharp.torch;

namespace QwixSharp.Tool.Commands;

/// <summary><c>qwix dequantize</c>: any checkpoint as floating-point safetensors.</summary>
internal sealed class DequantizeCommand : ConversionCommand
{
    private static readonly Dictionary<string, ScalarType> Dtypes = new()
    {
        ["f32"] = ScalarType.Float32,
        ["bf16"] = ScalarType.BFloat16,
        ["f16"] = ScalarType.Float16,
    };

    private readonly Option<string?> _dtype = new("--dtype") { Description = "The dtype of all floating-point tensors; unless given each keeps its own, or that of its scales." };

    internal DequantizeCommand() : base(
        "dequantize",
        "Writes a checkpoint in floating point: what is quantized is dequantized.",
        "A .safetensors file, or a folder; it must not be there yet.",
        "qwix dequantize model.gguf model.safetensors --dtype bf16",
        "qwix dequantize ./model-gptq ./model-float")
    {
        _dtype.AcceptOnlyFromAmong([.. Dtypes.Keys]);
        Add(_dtype);
    }

    /// <inheritdoc/>
    protected override void Convert(Checkpoint source, string target, ParseResult arguments, ByteProgress progress, CancellationToken cancel) =>
        CheckpointConverter.Dequantize(source, target, arguments.GetValue(_dtype) is { } name ? Dtypes[name] : null, progress, cancel);
}
