using System.CommandLine;
using QwixSharp.Checkpoints;
using QwixSharp.Checkpoints.Gguf;
using QwixSharp.Tool.Output;

namespace QwixSharp.Tool.Commands;

/// <summary><c>qwix convert</c>: a checkpoint in another layout.</summary>
internal sealed class ConvertCommand : ConversionCommand
{
    private static readonly Dictionary<string, GgufTensorType> GgufTypes =
        ((GgufTensorType[])[GgufTensorType.Q8_0, GgufTensorType.Q4_0, GgufTensorType.Q4_1, GgufTensorType.F16, GgufTensorType.BF16, GgufTensorType.F32])
        .ToDictionary(t => t.Name, StringComparer.OrdinalIgnoreCase);

    private readonly Option<string> _to = new("--to") { Description = "The layout to write.", Required = true };
    private readonly Option<string?> _ggufType = new("--gguf-type") { Description = "With --to gguf: quantize all matrices to this type." };

    internal ConvertCommand() : base(
        "convert",
        "Writes a checkpoint in another layout: codes and scales stay as they are where the layout can hold them.",
        "A folder, a .safetensors file (qwix) or a file (gguf); it must not be there yet.",
        "qwix convert ./model-int8 ./model-vllm --to compressed-tensors",
        "qwix convert ./model-gptq ./model-qwix --to qwix",
        "qwix convert model-f16.gguf model-q8.gguf --to gguf --gguf-type Q8_0")
    {
        _to.AcceptOnlyFromAmong("qwix", "compressed-tensors", "gguf");
        _ggufType.AcceptOnlyFromAmong(StringComparer.OrdinalIgnoreCase, [.. GgufTypes.Keys]);
        Add(_to);
        Add(_ggufType);
        Validators.Add(result =>
        {
            if (result.Has(_ggufType) && result.GetResult(_to)?.Tokens is not [{ Value: "gguf" }])
                result.AddError("--gguf-type is for --to gguf.");
        });
    }

    /// <inheritdoc/>
    protected override void Convert(Checkpoint source, string target, ParseResult arguments, ByteProgress progress, CancellationToken cancel)
    {
        switch (arguments.GetRequiredValue(_to))
        {
            case "qwix":
                CheckpointConverter.ToQwix(source, target, progress, cancel);
                break;
            case "compressed-tensors":
                CheckpointConverter.ToCompressedTensors(source, target, progress, cancel);
                break;
            default:
                CheckpointConverter.ToGguf(source, target, arguments.GetValue(_ggufType) is { } type ? GgufTypes[type] : null, progress, cancel);
                break;
        }
    }
}
