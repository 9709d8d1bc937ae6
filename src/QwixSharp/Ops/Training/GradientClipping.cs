using QwixSharp.Arrays;
using static TorchSharp.torch;

namespace QwixSharp.Ops.Training;

/// <summary>The straight-through estimator's treatment of values that quantization clips: they get no gradient.</summary>
internal static class GradientClipping
{
    /// <summary>Whether a range found by a method can leave values out. That of the largest magnitudes, or wider, cannot.</summary>
    internal static bool IsNeeded(CalibrationMethod method) =>
        method is { Kind: CalibrationKind.Rms or CalibrationKind.Fixed } or { Factor: < 1 };

    /// <summary>Whether each value lies inside its range, the ends included.</summary>
    /// <returns>A tensor of booleans of the array's shape.</returns>
    internal static Tensor Inside(Tensor array, CalibrationRange range)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        Tensor low = range.Min ?? -range.AbsMax!, high = range.Max ?? range.AbsMax!;
        var inside = GenericBroadcast.Apply((x, bound) => x.ge(bound), array, low)
            .logical_and_(GenericBroadcast.Apply((x, bound) => x.le(bound), array, high));
        return inside.MoveToOuterDisposeScope();
    }

    /// <summary>A gradient without what belongs to values outside the range.</summary>
    /// <param name="gradient">The gradient.</param>
    /// <param name="array">The values.</param>
    /// <param name="range">Their range.</param>
    internal static Tensor Apply(Tensor gradient, Tensor array, CalibrationRange range)
    {
        using var scope = NewDisposeScope();
        return where(Inside(array, range), gradient, zeros([], gradient.dtype, gradient.device)).MoveToOuterDisposeScope();
    }
}
