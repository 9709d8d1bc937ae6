using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Passes;
using QwixSharp.Numerics;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Arrays;

/// <summary>
/// Quantizes in one pass over memory where an array's scales follow its memory: float32 on the CPU, symmetric integers by
/// absmax, leading axes per channel, the others with one scale or with tiles of the last. The result is the same, bit for
/// bit, as that of the general way.
/// </summary>
internal static class RowQuantization
{
    /// <summary>Whether the passes compute what is asked for: symmetric absmax quantization of float32 on the CPU to at most a byte.</summary>
    internal static bool CanQuantize(Tensor array, HowToQuantize how) =>
        array.dtype == ScalarType.Float32 && array.device_type == DeviceType.CPU && array.numel() > 0 && array.dim() > 0
        && how.QType is { Kind: QTypeKind.Integer, Bits: > 1 and <= 8 }
        && how.Calibration is { Kind: CalibrationKind.AbsMax, Factor: null }
        && how.Noise is null;

    /// <summary>Quantizes an array where this is possible.</summary>
    /// <returns>A QArray of the caller's, or null.</returns>
    internal static unsafe QArray? TryQuantize(Tensor array, HowToQuantize how)
    {
        if (!CanQuantize(array, how))
            return null;
        var shape = array.shape;
        var scaleShape = how.ScaleShape(shape);
        if (RowLayout.Of(shape, scaleShape) is not { } rows)
            return null;

        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var source = array.contiguous();
        var codes = empty(shape, dtype: ScalarType.Int8);
        var scale = empty(scaleShape, dtype: ScalarType.Float32);
        QuantizePass.AbsMax((float*)TensorMemory.Address(source), rows, CodeRange.OfBits(how.QType.Bits), (sbyte*)TensorMemory.Address(codes), (float*)TensorMemory.Address(scale), get_num_threads());
        return new QArray(how.QType, shape, CodePacking.Pack(codes, how.QType), scale).MoveToOuterDisposeScope();
    }
}
