using QwixSharp.Arrays;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Ops.Training;

/// <summary>
/// Quantizes and dequantizes at once, for training. Its gradient is that of the straight-through estimator: it passes as
/// if nothing had been rounded, and, where asked, not to values outside the calibration range.
/// </summary>
internal static class FakeQuantOp
{
    /// <summary>Rounds an array with the range of its own values; the gradient is masked where the method can clip.</summary>
    /// <param name="array">The array.</param>
    /// <param name="how">How it is quantized.</param>
    /// <returns>An array of its shape and dtype that the caller owns.</returns>
    internal static Tensor Compute(Tensor array, HowToQuantize how)
    {
        using var scope = NewDisposeScope();
        bool clips = how.Calibration.CanClip;
        if (RowQuantization.TryRound(array, how, clips && NeedsGradient(array)) is { } rounded)
            return StraightThrough(array, rounded).MoveToOuterDisposeScope();
        using var range = Calibrator.Calibrate(array, how);
        return Compute(array, how.QType, range, clips, how.Noise).MoveToOuterDisposeScope();
    }

    /// <summary>Rounds an array with a given range, such as the mean of ranges seen before.</summary>
    /// <param name="array">The array.</param>
    /// <param name="qtype">The type of the codes.</param>
    /// <param name="range">The range; each axis has the array's length, a number of tiles, or 1.</param>
    /// <param name="clipsGradient">Whether values outside the range get no gradient.</param>
    /// <param name="noise">Noise for stochastic rounding; or null.</param>
    /// <returns>An array of its shape and dtype that the caller owns.</returns>
    internal static Tensor Compute(Tensor array, QType qtype, CalibrationRange range, bool clipsGradient, Func<long[], Tensor>? noise = null)
    {
        using var scope = NewDisposeScope();
        clipsGradient &= NeedsGradient(array);
        if (noise is null && RowQuantization.TryRound(array, qtype, range, clipsGradient) is { } rounded)
            return StraightThrough(array, rounded).MoveToOuterDisposeScope();
        var (scale, zeroPoint) = Calibrator.ComputeScaleZeroPoint(range, qtype);
        using var quantized = Quantizer.Quantize(array, qtype, scale, zeroPoint, noise);
        return StraightThroughFunction.Apply(array, quantized.Dequantize(), clipsGradient ? GradientMask.Of(array, range) : null).MoveToOuterDisposeScope();
    }

    private static bool NeedsGradient(Tensor array) => array.requires_grad && is_grad_enabled();

    private static Tensor StraightThrough(Tensor array, RoundedArray rounded) =>
        StraightThroughFunction.Apply(array, rounded.Values, rounded.Inside is { } inside ? new GradientMask(inside) : null);
}
