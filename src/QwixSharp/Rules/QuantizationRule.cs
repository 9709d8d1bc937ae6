using QwixSharp.Arrays;
using QwixSharp.Numerics;

namespace QwixSharp.Rules;

/// <summary>
/// Says which ops are quantized, and how. A model is quantized by a list of rules; for each op the first rule that
/// matches wins. A rule without <see cref="WeightQType"/> leaves the ops it matches as they are.
/// </summary>
public record QuantizationRule
{
    /// <summary>A regular expression that must match the whole dotted path of the module whose forward pass calls the op.</summary>
    public string ModulePath { get; init; } = ".*";

    /// <summary>
    /// The ops the rule is for, by the names of <see cref="OpNames"/>; empty is all ops.
    /// </summary>
    public IReadOnlyCollection<string> OpNames { get; init; } = [];

    /// <summary>The type of weights; null leaves the op alone.</summary>
    public QType? WeightQType { get; init; }

    /// <summary>The type of activations; null leaves them in floating point (weight-only quantization).</summary>
    public QType? ActQType { get; init; }

    /// <summary>
    /// Tiles along the contraction, each with a scale of its own (sub-channel quantization): a count of values such as
    /// 32, a fraction 1 ÷ number of tiles such as 0.25, or a map from the operand's axes to either. Null is one scale a
    /// channel. Convolutions do without tiles.
    /// </summary>
    public Tiling? TileSize { get; init; }

    /// <summary>
    /// Whether activations have a static scale, from statistics gathered before, rather than one computed at every call.
    /// Null leaves it to the provider (dynamic in post-training quantization). Needs <see cref="ActQType"/>.
    /// </summary>
    public bool? ActStaticScale { get; init; }

    /// <summary>How the range of weights is found; <c>absmax</c> unless told.</summary>
    public CalibrationMethod WeightCalibrationMethod { get; init; } = CalibrationMethod.AbsMax();

    /// <summary>
    /// <see cref="TorchSharp.torch.ScalarType.Float16"/> or <see cref="TorchSharp.torch.ScalarType.BFloat16"/> rounds the scales of
    /// weights to numbers of that dtype before codes are computed, and stores them in 16 bits: at tiles of 32, four-bit codes take
    /// 4.5 bits a weight instead of 5. The dtype that products are computed in stays that of the weight. Null leaves scales in it.
    /// </summary>
    public TorchSharp.torch.ScalarType? WeightScaleDtype { get; init; }

    /// <summary>How the range of activations is found; null leaves it to the provider (<c>absmax</c>).</summary>
    public CalibrationMethod? ActCalibrationMethod { get; init; }

    /// <summary>
    /// The batch axes of activations with a static scale: statistics are averaged along them. Without a static scale
    /// each index of a batch axis has its own scale, and this is not used.
    /// </summary>
    public IReadOnlyCollection<int> ActBatchAxes { get; init; } = [0];

    /// <summary>The settings that differ from a rule without any, in one line.</summary>
    /// <returns>Such as <c>{ ModulePath = ".*", WeightQType = int4, TileSize = 32 }</c>.</returns>
    public sealed override string ToString() => RuleText.Describe(this);
}
