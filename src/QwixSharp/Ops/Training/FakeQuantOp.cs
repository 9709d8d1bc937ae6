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
        if (RowQuantization.TryRound(array, how) is { } rounded)
            return StraightThrough(rounded, array, array).MoveToOuterDisposeScope();
        using var range = Calibrator.Calibrate(array, how);
        return Compute(array, how.QType, range, GradientClipping.IsNeeded(how.Calibration), how.Noise).MoveToOuterDisposeScope();
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
        var (scale, zeroPoint) = Calibrator.ComputeScaleZeroPoint(range, qtype);
        using var quantized = Quantizer.Quantize(array, qtype, scale, zeroPoint, noise);
        var rounded = quantized.Dequantize();
        var through = clipsGradient && NeedsGradient(array) ? where(GradientClipping.Inside(array, range), array, zeros([], array.dtype, array.device)) : array;
        return StraightThrough(rounded, array, through).MoveToOuterDisposeScope();
    }

    private static bool NeedsGradient(Tensor array) => array.requires_grad && is_grad_enabled();

    /// <summary>Rounded values with the gradient of others. What is added is zero, so that the result is what quantization gives, bit for bit.</summary>
    private static Tensor StraightThrough(Tensor rounded, Tensor array, Tensor through) =>
        NeedsGradient(array) ? rounded + (through - through.detach()) : rounded;
}
