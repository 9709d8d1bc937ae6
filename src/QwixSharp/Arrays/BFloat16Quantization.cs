using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Passes;
using QwixSharp.Numerics;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Arrays;

/// <summary>
/// Quantizes bfloat16, in which most checkpoints are, in one pass over memory where an array's scales follow its memory:
/// symmetric integers by absmax on the CPU. The result is the same, bit for bit, as that of the general way.
/// </summary>
internal static class BFloat16Quantization
{
    /// <summary>Quantizes an array where this is possible.</summary>
    /// <returns>A QArray of the caller's, or null.</returns>
    internal static unsafe QArray? TryQuantize(Tensor array, HowToQuantize how, int threads)
    {
        if (array.dtype != ScalarType.BFloat16 || array.device_type != DeviceType.CPU || array.numel() == 0 || array.dim() == 0)
            return null;
        if (how.QType is not { Kind: QTypeKind.Integer, Bits: > 1 and <= 8 } || how.Calibration is not { Kind: CalibrationKind.AbsMax, Factor: null } || how is not { Noise: null, ScaleDtype: null })
            return null;
        long[] shape = array.shape, scaleShape = how.ScaleShape(shape);
        if (RowLayout.Of(shape, scaleShape) is not { } rows)
            return null;

        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var source = array.contiguous();
        var codes = empty(shape, dtype: ScalarType.Int8);
        var scale = empty(scaleShape, dtype: ScalarType.BFloat16);
        BFloat16Pass.AbsMax((ushort*)TensorMemory.Address(source), rows, CodeRange.OfBits(how.QType.Bits), (sbyte*)TensorMemory.Address(codes), (ushort*)TensorMemory.Address(scale), threads);
        return new QArray(how.QType, shape, CodeBytes.Pack(codes, how.QType), scale).MoveToOuterDisposeScope();
    }
}
