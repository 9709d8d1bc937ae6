using QwixSharp.Rules;

namespace QwixSharp.Checkpoints;

/// <summary>A way to lay out quantized tensors in the tensors of a checkpoint.</summary>
/// <remarks>Whatever reads checkpoints reads them through this, and so reads every layout.</remarks>
public interface ICheckpointLayout
{
    /// <summary>The name, such as <c>qwix</c>, <c>compressed-tensors</c> or <c>plain</c>.</summary>
    string Name { get; }

    /// <summary>Whether a checkpoint claims this layout, by its format, metadata, configuration or names.</summary>
    /// <param name="checkpoint">The checkpoint.</param>
    /// <returns>Whether it does; then <see cref="Read"/> reads it, or says what is wrong with it.</returns>
    bool Recognizes(Checkpoint checkpoint);

    /// <summary>The tensors that a checkpoint stands for. Nothing but descriptions is read.</summary>
    /// <param name="checkpoint">A checkpoint of this layout; the tensors are valid while it is open.</param>
    /// <returns>Tensors of different names.</returns>
    /// <exception cref="CheckpointException">The checkpoint contradicts itself.</exception>
    IReadOnlyList<LogicalTensor> Read(Checkpoint checkpoint);

    /// <summary>The rules by which a checkpoint was quantized, where it holds them.</summary>
    /// <param name="checkpoint">A checkpoint of this layout.</param>
    /// <returns>The rules in order; null where the checkpoint does not say.</returns>
    /// <exception cref="CheckpointException">The checkpoint contradicts itself.</exception>
    IReadOnlyList<QuantizationRule>? ReadRules(Checkpoint checkpoint) => null;
}
