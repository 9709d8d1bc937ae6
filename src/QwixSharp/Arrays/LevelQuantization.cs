using QwixSharp.Kernels.Passes;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Arrays;

/// <summary>
/// Quantizes to nf4 and fp8 in one pass over memory where an array's scales follow its memory: float32 by absmax on the CPU. The result
/// is the same, bit for bit, as that of the general way, which takes a dozen tensors of the array's size.
/// </summary>
internal static class LevelQuantization
{
    /// <summary>Quantizes an array where this is possible.</summary>
    /// <returns>A QArray of the caller's, or null.</returns>
    internal static unsafe QArray? TryQuantize(Tensor array, HowToQuantize how)
    {
        if (!RowQuantization.IsPlain(array))
            return null;
        if (how.QType is { Kind: QTypeKind.Integer } or { IsMicroScaled: true } || how.Calibration is not { Kind: CalibrationKind.AbsMax, Factor: null } || how is not { Noise: null, ScaleDtype: null })
            return null;
        long[] shape = array.shape, scaleShape = how.ScaleShape(shape);
        if (RowLayout.Of(shape, scaleShape) is not { } rows)
            return null;

        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var source = array.contiguous();
        var codes = empty(shape, dtype: ScalarType.Byte);
        var scale = empty(scaleShape, dtype: ScalarType.Float32);
        float* from = (float*)TensorMemory.Address(source), scales = (float*)TensorMemory.Address(scale);
        byte* code = (byte*)TensorMemory.Address(codes);
        float bound = (float)how.QType.SymmetricBound;
        if (how.QType.FloatFormat is { } format)
            LevelPass.Floats(from, rows, bound, new SmallFloat(format.MantissaBits, format.Bias, format.Magnitudes.Length - 1, 1 << (format.Bits - 1)), code, scales, get_num_threads());
        else
            LevelPass.Codebook(from, rows, bound, NormalFloat4.RoundingBounds, code, scales, get_num_threads());
        return new QArray(how.QType, shape, CodeBytes.Pack(codes, how.QType), scale).MoveToOuterDisposeScope();
    }
}
