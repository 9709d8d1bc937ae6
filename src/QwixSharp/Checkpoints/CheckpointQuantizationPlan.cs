using QwixSharp.Rules;

namespace QwixSharp.Checkpoints;

/// <summary>What would become of one tensor.</summary>
/// <param name="Tensor">The tensor.</param>
/// <param name="Rule">The rule that matches it, with or without a type for weights; null where none does.</param>
/// <param name="Quantization">How it would be quantized; null where it is copied.</param>
/// <param name="Reason">In a few words, why it is copied; empty where it is quantized.</param>
/// <param name="Outputs">The tensors that would be stored for it.</param>
public sealed record PlannedTensor(LogicalTensor Tensor, QuantizationRule? Rule, TensorQuantization? Quantization, string Reason, IReadOnlyList<TensorEntry> Outputs)
{
    /// <summary>The bytes it takes now.</summary>
    public long BytesBefore => Tensor.ByteLength;

    /// <summary>The bytes it would take.</summary>
    public long BytesAfter => Outputs.Sum(o => o.ByteLength);
}

/// <summary>What quantizing a checkpoint would do, tensor by tensor.</summary>
/// <param name="Tensors">The tensors in the order of the checkpoint.</param>
public sealed record CheckpointQuantizationPlan(IReadOnlyList<PlannedTensor> Tensors)
{
    /// <summary>The bytes that the tensors take now.</summary>
    public long BytesBefore => Tensors.Sum(t => t.BytesBefore);

    /// <summary>The bytes that they would take.</summary>
    public long BytesAfter => Tensors.Sum(t => t.BytesAfter);
}

/// <summary>How far quantizing a checkpoint has come.</summary>
/// <param name="Tensor">The tensor of which a part was finished.</param>
/// <param name="BytesDone">The bytes of the source that are finished, those of an interrupted run included.</param>
/// <param name="BytesTotal">The bytes of the source.</param>
public readonly record struct CheckpointProgress(string Tensor, long BytesDone, long BytesTotal);
