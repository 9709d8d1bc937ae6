using QwixSharp.Checkpoints.Layouts;
using QwixSharp.Rules;

namespace QwixSharp.Checkpoints.CompressedTensors;

/// <summary>
/// Weights as compressed-tensors writes them and vLLM serves them: <c>weight</c> in int8 or fp8, or <c>weight_packed</c> in int32, with
/// <c>weight_scale</c> and their kin, and the schemes in the <c>quantization_config</c>.
/// </summary>
internal sealed class CompressedTensorsLayout : ICheckpointLayout
{
    private static readonly string[] Parts = ["weight", "weight_packed", "weight_scale", "weight_zero_point", "weight_shape", "weight_g_idx", "input_scale", "input_zero_point"];

    public string Name => "compressed-tensors";

    public bool Recognizes(Checkpoint checkpoint) => new QuantizationConfig(checkpoint).Method == "compressed-tensors";

    public IReadOnlyList<LogicalTensor> Read(Checkpoint checkpoint)
    {
        var config = new CompressedTensorsConfig(checkpoint);
        return StoredParts.Gather(checkpoint, ModuleOf, Parts, parts => CompressedTensorsWeight.Make(parts, config.For(parts.Module)));
    }

    /// <remarks>A rule for each set of modules that are quantized alike. A fixed scale of inputs becomes a fixed range.</remarks>
    public IReadOnlyList<QuantizationRule> ReadRules(Checkpoint checkpoint) => CompressedTensorsRules.Of(checkpoint.LogicalTensors.OfType<CompressedTensorsWeight>());

    private static string? ModuleOf(Checkpoint checkpoint, TensorEntry entry)
    {
        if (StoredParts.ModuleOf(entry.Name, "weight_packed") is { } packed)
            return packed;
        return StoredParts.ModuleOf(entry.Name, "weight") is { } module && checkpoint.Contains(StoredParts.Join(module, "weight_scale")) ? module : null;
    }
}
