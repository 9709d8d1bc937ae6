using QwixSharp.Arrays;
using QwixSharp.Kernels.Passes;
using static TorchSharp.torch;

namespace QwixSharp.Ops.Training;

/// <summary>
/// The straight-through estimator's treatment of values that quantization clips: they get no gradient. Which they are is
/// found in the forward pass, so that the backward pass needs neither the values nor their range.
/// </summary>
/// <param name="Marks">
/// Bytes with a bit an element where the kernels made it (see <see cref="BitMaskPass"/>), else booleans of the array's shape.
/// </param>
internal sealed record GradientMask(Tensor Marks)
{
    /// <summary>The values inside their range, the ends included; a NaN is not.</summary>
    /// <param name="array">The values.</param>
    /// <param name="range">Their range; each axis has the array's length, a number of tiles, or 1.</param>
    /// <returns>A mask whose tensor is the caller's.</returns>
    internal static GradientMask Of(Tensor array, CalibrationRange range)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        return new((RowQuantization.TryMark(array, range) ?? Inside(array, range)).MoveToOuterDisposeScope());
    }

    /// <summary>A gradient, and 0 instead of what belongs to values outside.</summary>
    /// <param name="gradient">The gradient, of the array's shape and dtype.</param>
    /// <param name="mayOverwrite">Whether the result may be written over it.</param>
    /// <returns>The caller's; the gradient itself, or another name of it, if it was written over.</returns>
    internal unsafe Tensor Apply(Tensor gradient, bool mayOverwrite)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        if (Marks.dtype == ScalarType.Bool)
            return where(Marks, gradient, zeros([], gradient.dtype, gradient.device)).MoveToOuterDisposeScope();
        mayOverwrite |= !gradient.is_contiguous();
        var incoming = gradient.contiguous();
        var result = mayOverwrite ? incoming : empty(gradient.shape, dtype: ScalarType.Float32);
        BitMaskPass.Apply((float*)TensorMemory.Address(incoming), (byte*)TensorMemory.Address(Marks), gradient.numel(), (float*)TensorMemory.Address(result), get_num_threads());
        return result.MoveToOuterDisposeScope();
    }

    private static Tensor Inside(Tensor array, CalibrationRange range)
    {
        var (low, high) = range.Bounds();
        return GenericBroadcast.Apply((x, bound) => x.ge(bound), array, low)
            .logical_and_(GenericBroadcast.Apply((x, bound) => x.le(bound), array, high));
    }
}
