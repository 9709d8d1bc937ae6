using QwixSharp.Arrays;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Ops.Training;

/// <summary>An operand of a product in training: as it came, quantized where its settings say so, and what of its gradient passes where that is clipped.</summary>
internal sealed record TrainedOperand(Tensor Source, QArray? Array, GradientMask? Mask) : IDisposable
{
    /// <summary>What the product multiplies.</summary>
    internal Operand Operand => Array is not null ? Array : Source;

    /// <summary>Quantizes an operand.</summary>
    /// <param name="source">The operand.</param>
    /// <param name="settings">Its settings.</param>
    /// <param name="how">How it is quantized; asked where it is.</param>
    /// <param name="clips">Whether there will be a gradient, which is to be clipped to a range that can leave values out.</param>
    /// <param name="quantize">Quantizes it with the range of its own values.</param>
    internal static TrainedOperand Quantize(Tensor source, OperandSettings settings, Func<HowToQuantize> how, bool clips, Func<Tensor, HowToQuantize, QArray> quantize)
    {
        if (settings.QType is not { } qtype || !Codec.IsQuantizable(source.dtype))
            return new TrainedOperand(source, null, null);
        var chosen = how();
        clips &= settings.Calibration.CanClip;
        if (settings.Average is null && !clips)
            return new TrainedOperand(source, quantize(source, chosen), null);
        var own = Calibrator.Calibrate(source, chosen);
        var range = settings.Average is { } average ? average(own) : own;
        var (scale, zeroPoint) = Calibrator.ComputeScaleZeroPoint(range, qtype);
        return new TrainedOperand(source, Quantizer.Quantize(source, qtype, scale, zeroPoint), clips ? GradientMask.Of(source, range) : null);
    }

    /// <summary>Frees the quantized form, and what the kernels made of it.</summary>
    public void Dispose() => Array?.Dispose();
}
