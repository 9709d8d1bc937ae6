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

    /// <summary>Quantizes and dequantizes an array at once, with the range of its own values, where this is possible.</summary>
    /// <param name="array">The array.</param>
    /// <param name="how">How it is quantized.</param>
    /// <param name="marks">Whether bits are wanted.</param>
    /// <returns>The numbers, without a gradient; or null.</returns>
    internal static unsafe RoundedArray? TryRound(Tensor array, HowToQuantize how, bool marks)
    {
        bool isAsymmetric = IsMinMax(array, how);
        if ((!isAsymmetric && !(IsPlain(array, how) && how.Calibration.Kind == CalibrationKind.AbsMax)) || RowLayout.Of(array.shape, how.ScaleShape(array.shape)) is not { } rows)
            return null;
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var source = array.contiguous();
        var rounded = Rounded(array, marks && !isAsymmetric);
        var range = CodeRange.OfBits(how.QType.Bits);
        if (isAsymmetric)
            FakeQuantPass.MinMax(Floats(source), rows, range, Floats(rounded.Values), get_num_threads());
        else
            FakeQuantPass.AbsMax(Floats(source), rows, range, (float)(how.Calibration.Factor ?? 1), Floats(rounded.Values), Bits(rounded.Inside), get_num_threads());
        return rounded.MoveToOuterDisposeScope();
    }

    /// <summary>Quantizes and dequantizes an array at once, with a given range, where this is possible.</summary>
    /// <param name="array">The array.</param>
    /// <param name="qtype">The type of the codes.</param>
    /// <param name="range">The range; each axis has the array's length, a number of tiles, or 1.</param>
    /// <param name="marks">Whether bits are wanted.</param>
    /// <returns>The numbers, without a gradient; or null.</returns>
    internal static unsafe RoundedArray? TryRound(Tensor array, QType qtype, CalibrationRange range, bool marks)
    {
        if (!IsPlain(array, qtype) || RowLayout.Of(array.shape, range.ScaleShape) is not { } rows)
            return null;
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var source = array.contiguous();
        var (scale, zeroPoint) = Calibrator.ComputeScaleZeroPoint(range, qtype);
        var (low, high) = range.Bounds();
        var (scales, points) = (scale.contiguous(), zeroPoint?.to(ScalarType.Int32).contiguous());
        var (lows, highs) = (low.contiguous(), high.contiguous());
        var rounded = Rounded(array, marks);
        FakeQuantPass.WithScales(
            Floats(source),
            rows,
            Floats(scales),
            points is null ? null : (int*)TensorMemory.Address(points),
            CodeRange.OfBits(qtype.Bits),
            Floats(rounded.Values),
            Floats(lows),
            Floats(highs),
            Bits(rounded.Inside),
            get_num_threads());
        return rounded.MoveToOuterDisposeScope();
    }

    /// <summary>A bit an element, 1 where the value lies inside its range, where this is possible.</summary>
    /// <param name="array">The array.</param>
    /// <param name="range">The range; each axis has the array's length, a number of tiles, or 1.</param>
    /// <returns>Bytes of the caller's, see <see cref="BitMaskPass"/>; or null.</returns>
    internal static unsafe Tensor? TryMark(Tensor array, CalibrationRange range)
    {
        if (!IsPlain(array) || RowLayout.Of(array.shape, range.ScaleShape) is not { } rows)
            return null;
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var source = array.contiguous();
        var (low, high) = range.Bounds();
        var (lows, highs) = (low.contiguous(), high.contiguous());
        var bits = NewBits(array);
        BitMaskPass.Mark(Floats(source), rows, Floats(lows), Floats(highs), Bits(bits), get_num_threads());
        return bits.MoveToOuterDisposeScope();
    }

    private static bool IsMinMax(Tensor array, HowToQuantize how) =>
        IsPlain(array, how) && how.Calibration is { Kind: CalibrationKind.MinMax, Factor: null } && how.QType.SupportsAsymmetric;

    private static bool IsPlain(Tensor array, HowToQuantize how) => IsPlain(array, how.QType) && how is { Noise: null, ScaleDtype: null };

    private static bool IsPlain(Tensor array, QType qtype) => IsPlain(array) && qtype is { Kind: QTypeKind.Integer, Bits: > 1 and <= 8 };

    /// <summary>Whether an array has values of float32 in the memory of the CPU, along at least one axis.</summary>
    internal static bool IsPlain(Tensor array) => array.dtype == ScalarType.Float32 && array.device_type == DeviceType.CPU && array.numel() > 0 && array.dim() > 0;

    private static RoundedArray Rounded(Tensor array, bool marks) => new(empty(array.shape, dtype: ScalarType.Float32), marks ? NewBits(array) : null);

    private static Tensor NewBits(Tensor array) => empty(BitMaskPass.Bytes(array.numel()), dtype: ScalarType.Byte);

    private static unsafe float* Floats(Tensor tensor) => (float*)TensorMemory.Address(tensor);

    private static unsafe byte* Bits(Tensor? tensor) => tensor is null ? null : (byte*)TensorMemory.Address(tensor);

    private static unsafe QArray Quantize(Tensor array, QType qtype, RowShape rows, long[] scaleShape, bool isAsymmetric)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var source = array.contiguous();
        var codes = empty(array.shape, dtype: ScalarType.Int8);
        var scale = empty(scaleShape, dtype: ScalarType.Float32);
        var zeroPoint = isAsymmetric ? empty(scaleShape, dtype: ScalarType.Int32) : null;
        var range = CodeRange.OfBits(qtype.Bits);
        var code = (sbyte*)TensorMemory.Address(codes);
        if (zeroPoint is null)
            QuantizePass.AbsMax(Floats(source), rows, range, code, Floats(scale), get_num_threads());
        else
            QuantizePass.MinMax(Floats(source), rows, range, code, Floats(scale), (int*)TensorMemory.Address(zeroPoint), get_num_threads());
        return new QArray(qtype, array.shape, CodeBytes.Pack(codes, qtype), scale, zeroPoint?.to(ScalarType.Int8)).MoveToOuterDisposeScope();
    }
}
