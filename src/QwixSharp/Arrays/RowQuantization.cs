using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Passes;
using QwixSharp.Numerics;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Arrays;

/// <summary>
/// Quantizes in one pass over memory where an array's scales follow its memory: float32 on the CPU, integers by absmax
/// (symmetric) or minmax (asymmetric), leading axes per channel, the others with one scale or with tiles of the last. The
/// result is the same, bit for bit, as that of the general way.
/// </summary>
internal static class RowQuantization
{
    /// <summary>Whether this is symmetric absmax quantization of float32 on the CPU to at most a byte.</summary>
    internal static bool IsAbsMax(Tensor array, HowToQuantize how) =>
        IsPlain(array, how) && how.Calibration is { Kind: CalibrationKind.AbsMax, Factor: null };

    /// <summary>Quantizes an array where this is possible.</summary>
    /// <returns>A QArray of the caller's, or null.</returns>
    internal static QArray? TryQuantize(Tensor array, HowToQuantize how)
    {
        bool isAsymmetric = IsMinMax(array, how);
        if (!isAsymmetric && !IsAbsMax(array, how))
            return null;
        long[] shape = array.shape, scaleShape = how.ScaleShape(shape);
        return RowLayout.Of(shape, scaleShape) is { } rows ? Quantize(array, how.QType, rows, scaleShape, isAsymmetric) : null;
    }

    /// <summary>Quantizes and dequantizes an array at once where this is possible.</summary>
    /// <returns>An array of its shape of the caller's, without a gradient; or null.</returns>
    internal static unsafe Tensor? TryRound(Tensor array, HowToQuantize how)
    {
        bool isAsymmetric = IsMinMax(array, how);
        if ((!isAsymmetric && !IsAbsMax(array, how)) || RowLayout.Of(array.shape, how.ScaleShape(array.shape)) is not { } rows)
            return null;
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        Tensor source = array.contiguous(), result = empty(array.shape, dtype: ScalarType.Float32);
        var range = CodeRange.OfBits(how.QType.Bits);
        var values = (float*)TensorMemory.Address(source);
        var rounded = (float*)TensorMemory.Address(result);
        if (isAsymmetric)
            FakeQuantPass.MinMax(values, rows, range, rounded, get_num_threads());
        else
            FakeQuantPass.AbsMax(values, rows, range, rounded, get_num_threads());
        return result.MoveToOuterDisposeScope();
    }

    private static bool IsMinMax(Tensor array, HowToQuantize how) =>
        IsPlain(array, how) && how.Calibration is { Kind: CalibrationKind.MinMax, Factor: null } && how.QType.SupportsAsymmetric;

    private static bool IsPlain(Tensor array, HowToQuantize how) =>
        array.dtype == ScalarType.Float32 && array.device_type == DeviceType.CPU && array.numel() > 0 && array.dim() > 0
        && how.QType is { Kind: QTypeKind.Integer, Bits: > 1 and <= 8 }
        && how is { Noise: null, ScaleDtype: null };

    private static unsafe QArray Quantize(Tensor array, QType qtype, RowShape rows, long[] scaleShape, bool isAsymmetric)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var source = array.contiguous();
        var codes = empty(array.shape, dtype: ScalarType.Int8);
        var scale = empty(scaleShape, dtype: ScalarType.Float32);
        var zeroPoint = isAsymmetric ? empty(scaleShape, dtype: ScalarType.Int32) : null;
        var range = CodeRange.OfBits(qtype.Bits);
        var values = (float*)TensorMemory.Address(source);
        var code = (sbyte*)TensorMemory.Address(codes);
        var scales = (float*)TensorMemory.Address(scale);
        if (zeroPoint is null)
            QuantizePass.AbsMax(values, rows, range, code, scales, get_num_threads());
        else
            QuantizePass.MinMax(values, rows, range, code, scales, (int*)TensorMemory.Address(zeroPoint), get_num_threads());
        return new QArray(qtype, array.shape, CodePacking.Pack(codes, qtype), scale, zeroPoint?.to(ScalarType.Int8)).MoveToOuterDisposeScope();
    }
}
