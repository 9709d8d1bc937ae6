using QwixSharp.Arrays;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Ops.Training;

/// <summary>How one operand of a product in training is quantized in the forward pass.</summary>
internal sealed record OperandSettings
{
    /// <summary>An operand that stays as it is.</summary>
    internal static OperandSettings Plain { get; } = new();

    /// <summary>The type of the codes; null leaves the operand in floating point.</summary>
    internal QType? QType { get; init; }

    /// <summary>Tiles along the contraction; null for none.</summary>
    internal Tiling? Tiling { get; init; }

    /// <summary>How the range is found.</summary>
    internal CalibrationMethod Calibration { get; init; } = CalibrationMethod.AbsMax();

    /// <summary>Takes the range of this call and gives the one to use, such as the mean of all that were seen; null uses this call's.</summary>
    internal Func<CalibrationRange, CalibrationRange>? Average { get; init; }
}

/// <summary>How the gradient of one operand is computed.</summary>
internal sealed record GradientSettings
{
    /// <summary>The type to which the incoming gradient is quantized; null leaves it in floating point.</summary>
    internal QType? QType { get; init; }

    /// <summary>How the range of the incoming gradient is found.</summary>
    internal CalibrationMethod Calibration { get; init; } = CalibrationMethod.AbsMax();

    /// <summary>Tiles along the last axis that the product of the backward pass contracts; null for none.</summary>
    internal TileSize? TileSize { get; init; }

    /// <summary>Noise for stochastic rounding of the incoming gradient; null rounds to nearest.</summary>
    internal Func<long[], Device, Tensor>? Noise { get; init; }

    /// <summary>The type to which the other operand is quantized anew for the backward pass, where its original is used; null leaves it.</summary>
    internal QType? ResidualQType { get; init; }

    /// <summary>How the range of that operand is found.</summary>
    internal CalibrationMethod ResidualCalibration { get; init; } = CalibrationMethod.AbsMax();
}

/// <summary>All that decides how a product is computed in training.</summary>
internal sealed record TrainingSettings
{
    /// <summary>The left operand.</summary>
    internal OperandSettings Lhs { get; init; } = OperandSettings.Plain;

    /// <summary>The right operand.</summary>
    internal OperandSettings Rhs { get; init; } = OperandSettings.Plain;

    /// <summary>The gradient of the left operand.</summary>
    internal GradientSettings LhsGradient { get; init; } = new();

    /// <summary>The gradient of the right operand.</summary>
    internal GradientSettings RhsGradient { get; init; } = new();

    /// <summary>Whether operands and gradients have one scale for all channels.</summary>
    internal bool DisableChannelwiseAxes { get; init; }

    /// <summary>Whether the backward pass uses operands as they were before quantization.</summary>
    internal bool UseOriginalResiduals { get; init; }

    /// <summary>Whether values outside the calibration range get a gradient too.</summary>
    internal bool DisableGradientClipping { get; init; }
}
