using QwixSharp.Arrays;
using QwixSharp.Numerics;

namespace QwixSharp.Rules;

/// <summary>The noise of stochastic rounding, which is added before rounding to the nearest code.</summary>
public enum RoundingNoise
{
    /// <summary>Uniform in [−0.5, 0.5).</summary>
    Uniform,

    /// <summary>Uniform over 256 numbers, evenly spaced in (−0.5, 0.5): eight random bits, and no bias.</summary>
    LowBitUniform,
}

/// <summary>
/// A rule for quantized training, where the backward pass is quantized too. A plain <see cref="QuantizationRule"/> means
/// quantization-aware training: a backward pass in floating point, with the operands as they were before quantization.
/// </summary>
public record QtRule : QuantizationRule
{
    /// <summary>A rule with its settings at their defaults.</summary>
    public QtRule()
    {
    }

    /// <summary>A rule that trains as a plain one does.</summary>
    /// <param name="rule">The plain rule.</param>
    internal QtRule(QuantizationRule rule) : base(rule)
    {
    }

    /// <summary>
    /// The type to which incoming gradients are quantized; null leaves the backward pass in floating point. The operands
    /// are used as the forward pass quantized them, but for those with tiles, whose originals are used.
    /// </summary>
    public QType? BwdQType { get; init; }

    /// <summary>How the range of gradients is found; <c>absmax</c> unless told.</summary>
    public CalibrationMethod BwdCalibrationMethod { get; init; } = CalibrationMethod.AbsMax();

    /// <summary>
    /// Tiles of the incoming gradient, and of the activation where that is quantized anew, along the last axis that the
    /// product for a weight's gradient contracts. Null is none; convolutions do without.
    /// </summary>
    public TileSize? BwdWeightGradTileSize { get; init; }

    /// <summary>Whether weights, activations and gradients have one scale each, in place of one a channel, forwards and backwards.</summary>
    public bool DisableChannelwiseAxes { get; init; }

    /// <summary>
    /// Rounds gradients of matrix products up or down at random, so that they are right in the mean; null rounds to nearest.
    /// Types that are floats have no use for it.
    /// </summary>
    public RoundingNoise? BwdStochasticRounding { get; init; }

    /// <summary>The axes of the gradient along which noise differs; it is the same for all indices of the others.</summary>
    public IReadOnlyCollection<int> ChannelwiseNoiseAxes { get; init; } = [0];

    /// <summary>
    /// Whether the backward pass of matrix products uses operands as they were before quantization. Null means yes
    /// without <see cref="BwdQType"/>, and no with it.
    /// </summary>
    public bool? UseOriginalResiduals { get; init; }

    /// <summary>The type to which an original right operand is quantized for the left one's gradient; null leaves it.</summary>
    public QType? DlhsResidualQType { get; init; }

    /// <summary>How the range of that operand is found.</summary>
    public CalibrationMethod DlhsResidualCalibrationMethod { get; init; } = CalibrationMethod.AbsMax();

    /// <summary>The type to which an original left operand is quantized for the right one's gradient; null leaves it.</summary>
    public QType? DrhsResidualQType { get; init; }

    /// <summary>How the range of that operand is found.</summary>
    public CalibrationMethod DrhsResidualCalibrationMethod { get; init; } = CalibrationMethod.AbsMax();

    /// <summary>
    /// Whether values outside the calibration range get a gradient too. It matters where the range can leave values out:
    /// a factor below 1, <c>rms</c> and <c>fixed</c>. Convolutions never clip gradients.
    /// </summary>
    public bool DisableGradientClipping { get; init; }
}
