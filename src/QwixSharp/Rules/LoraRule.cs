using TorchSharp;

namespace QwixSharp.Rules;

/// <summary>
/// Gives the weights of the ops that it matches a low-rank adapter (LoRA, Hu et al. 2021): x·W becomes
/// x·W + s·(x·A)·B, where only A and B train. With <see cref="QuantizationRule.WeightQType"/> the frozen weight is
/// quantized (QLoRA, Dettmers et al. 2023).
/// </summary>
public sealed record LoraRule : QuantizationRule
{
    /// <summary>The rank r of the adapter: the length of the axis that A and B share. At most the smaller side of the weight.</summary>
    public required int Rank { get; init; }

    /// <summary>The numerator α of the scaling s = α ÷ r.</summary>
    public required double Alpha { get; init; }

    /// <summary>Whether the scaling is s = α ÷ √r instead (rank-stabilized LoRA, Kalajdzievski 2023).</summary>
    public bool RankStabilized { get; init; }

    /// <summary>The probability, in [0, 1), with which values of the adapter's input are dropped while the model is in training mode.</summary>
    public double Dropout { get; init; }

    /// <summary>
    /// Whether the scales of the quantized weight are quantized too, to 8 bits in blocks of 256, which saves about 0.4 bits
    /// a weight with tiles of 64. The weight is then dequantized for each product rather than kept in the kernels' form, and
    /// a state that is loaded has plain scales. Needs <see cref="QuantizationRule.WeightQType"/>.
    /// </summary>
    public bool DoubleQuantization { get; init; }

    /// <summary>
    /// Fills A in place. A linear layer's is [in, rank], a convolution's [rank, in ÷ groups, spatial…]. Null is He's
    /// uniform distribution over ±√(6 ÷ n), where n values of the input meet in one value of x·A.
    /// </summary>
    public Action<torch.Tensor>? InitializeA { get; init; }

    /// <summary>Fills B, [rank, out], in place. Null is zeros, so that a new adapter changes nothing.</summary>
    public Action<torch.Tensor>? InitializeB { get; init; }
}
