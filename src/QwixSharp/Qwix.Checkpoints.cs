using QwixSharp.Arrays;
using QwixSharp.Calibration;
using QwixSharp.Checkpoints;
using QwixSharp.Checkpoints.Layouts;
using QwixSharp.Checkpoints.Prequantized;
using QwixSharp.Providers;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp;

/// <content>Checkpoints of quantized models.</content>
public static partial class Qwix
{
    /// <summary>
    /// Saves a quantized model as safetensors: its quantized weights, its other parameters and buffers, static scales, the rules
    /// and, where given, statistics of activations. docs/checkpoints.md has the layout.
    /// </summary>
    /// <param name="model">A model from <see cref="QuantizeModel{T, TResult}"/>, on any device but meta. It is not changed.</param>
    /// <param name="path">A file that ends in <c>.safetensors</c>; any other path is a folder, with shards where the model is large.</param>
    /// <param name="quantStats">Statistics to go with it.</param>
    /// <param name="maxShardSize">The bytes of tensors that a shard of a folder may have.</param>
    /// <exception cref="CheckpointException">It cannot be written; then nothing is left under the path.</exception>
    /// <exception cref="QwixException">The model is abstract.</exception>
    public static void SaveQuantized(IQuantizedModel model, string path, QuantStats? quantStats = null, long maxShardSize = SafetensorsWriter.DefaultShardSize)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentException.ThrowIfNullOrEmpty(path);
        QuantizedModelCheckpoint.Save(model, path, quantStats, maxShardSize);
    }

    /// <summary>
    /// Loads what <see cref="SaveQuantized"/> saved into a model that was quantized with the same rules, whatever its values. On
    /// the meta device its original weights never take memory.
    /// </summary>
    /// <param name="model">A model from <see cref="QuantizeModel{T, TResult}"/>.</param>
    /// <param name="path">The file or folder.</param>
    /// <exception cref="CheckpointException">It cannot be read, or was quantized to other types.</exception>
    /// <exception cref="QwixException">The checkpoint does not fit the model, which is not changed then; the message names the tensors.</exception>
    public static void LoadQuantized(IQuantizedModel model, string path)
    {
        ArgumentNullException.ThrowIfNull(model);
        using var checkpoint = Checkpoint.Open(path);
        QuantizedModelCheckpoint.Load(model, checkpoint);
    }

    /// <summary>The statistics that were saved with a model.</summary>
    /// <param name="checkpoint">A checkpoint of <see cref="SaveQuantized"/>.</param>
    /// <returns>Statistics that the caller owns, empty where none were saved.</returns>
    /// <exception cref="CheckpointException">They cannot be read.</exception>
    public static QuantStats ReadQuantStats(Checkpoint checkpoint)
    {
        ArgumentNullException.ThrowIfNull(checkpoint);
        return QuantizedModelCheckpoint.ReadQuantStats(checkpoint);
    }

    /// <summary>
    /// The rules that quantize a model into the form of a checkpoint that was quantized before: those that the checkpoint holds,
    /// or else rules inferred from its tensors. A model quantized with them takes <see cref="ProcessPrequantizedParams"/>.
    /// </summary>
    /// <param name="checkpoint">The checkpoint, of any layout.</param>
    /// <param name="tileSize">The tile size of all inferred rules; null takes each tensor's own. Where given, rules are inferred in any case.</param>
    /// <param name="transform">How the names and shapes of the checkpoint become the model's. Where given, rules are inferred in any case.</param>
    /// <param name="weightOnly">Whether inferred rules leave activations alone; otherwise these have the type of the weights, as in the reference, save for nf4.</param>
    /// <returns>
    /// The rules. One is inferred for all modules whose paths differ in numbers alone, such as the layers of a model, where they
    /// are quantized alike.
    /// </returns>
    /// <exception cref="CheckpointException">The checkpoint contradicts itself, or has no quantized tensors.</exception>
    public static IReadOnlyList<QuantizationRule> RestoreQuantizationRules(Checkpoint checkpoint, Tiling? tileSize = null, CheckpointTransform? transform = null, bool weightOnly = false)
    {
        ArgumentNullException.ThrowIfNull(checkpoint);
        if (tileSize is null && transform is null && checkpoint.Layout.ReadRules(checkpoint) is { } stored)
            return stored;
        var rules = RuleInference.Infer(transform?.Apply(checkpoint.LogicalTensors) ?? checkpoint.LogicalTensors, tileSize, weightOnly);
        return rules.Count > 0 ? rules : throw new CheckpointException($"{CheckpointException.Quote(checkpoint.Path)} has no quantized tensors that a model could compute with.");
    }

    /// <summary>
    /// Turns a checkpoint that was quantized before into the state of a model: quantized parameters of a quantized model are taken
    /// over as they are, all others are dequantized.
    /// </summary>
    /// <param name="checkpoint">The checkpoint, of any layout.</param>
    /// <param name="model">
    /// A model from <see cref="QuantizeModel{T, TResult}"/>, on the meta device or not, for quantized serving; or any other module,
    /// for full precision. It is not changed.
    /// </param>
    /// <param name="transform">How the names and shapes of the checkpoint become the model's.</param>
    /// <param name="allowExtra">Whether tensors that the model does not have are left out, rather than refused.</param>
    /// <returns>Entries for <c>load_state_dict</c> of the model, which the caller owns.</returns>
    /// <exception cref="CheckpointException">
    /// A tensor is not the model's, has another shape, or is quantized otherwise than the model; the message names it.
    /// </exception>
    public static Dictionary<string, Tensor> ProcessPrequantizedParams(Checkpoint checkpoint, nn.Module model, CheckpointTransform? transform = null, bool allowExtra = false)
    {
        ArgumentNullException.ThrowIfNull(checkpoint);
        ArgumentNullException.ThrowIfNull(model);
        return new PrequantizedParams(model).Process(transform?.Apply(checkpoint.LogicalTensors) ?? checkpoint.LogicalTensors, allowExtra);
    }
}
