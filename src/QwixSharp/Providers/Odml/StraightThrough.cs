using QwixSharp.Arrays;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Odml;

/// <summary>Quantizes and dequantizes, with the gradient of clipping to the range (straight-through estimator, arXiv 1308.3432).</summary>
internal static class StraightThrough
{
    internal static Tensor FakeQuant(Tensor tensor, CalibrationRange range, QType qtype)
    {
        using var scope = NewDisposeScope();
        Tensor quantized;
        using (no_grad())
        {
            var (scale, zeroPoint) = Calibrator.ComputeScaleZeroPoint(range, qtype);
            quantized = Quantizer.Quantize(tensor, qtype, scale, zeroPoint).Dequantize();
        }

        if (!is_grad_enabled() || !tensor.requires_grad)
            return quantized.MoveToOuterDisposeScope();
        // Of the operands of where only the condition is kept for the backward pass, so that the tensor may be written to.
        var passed = where(Inside(tensor, range), tensor, tensor.detach());
        return (passed + (quantized - passed).detach()).MoveToOuterDisposeScope();
    }

    private static Tensor Inside(Tensor tensor, CalibrationRange range)
    {
        using var noGrad = no_grad();
        return range.AbsMax is { } bound
            ? tensor.abs().le(bound)
            : tensor.ge(range.Min!).logical_and(tensor.le(range.Max!));
    }
}
