using QwixSharp.Calibration;
using QwixSharp.Checkpoints;
using QwixSharp.Checkpoints.Layouts;
using QwixSharp.Providers;

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
}
