using static TorchSharp.torch;

namespace QwixSharp.Arrays;

/// <summary>Rounds scales to a dtype of 16 bits, for <see cref="HowToQuantize.ScaleDtype"/>.</summary>
internal static class ScaleRounding
{
    /// <summary>The smallest positive number of float16: a smaller scale becomes this and not 0, by which nothing can be divided.</summary>
    private const double SmallestHalf = 1.0 / (1 << 24);

    /// <summary>Scales rounded to numbers of a dtype, in their own dtype.</summary>
    /// <exception cref="ArgumentException">A scale is too large for the dtype; the message says what to do.</exception>
    internal static Tensor Round(Tensor scale, ScalarType? dtype)
    {
        if (dtype is not { } wanted || wanted == scale.dtype)
            return scale;
        var rounded = scale.to(wanted).to(scale.dtype);
        if (wanted == ScalarType.Float16)
            rounded = rounded.clamp_min(SmallestHalf);
        using var overflowed = rounded.isinf() & scale.isfinite();
        if (overflowed.any().item<bool>())
            throw new ArgumentException($"a scale of {scale.max().to(ScalarType.Float64).item<double>():G4} is too large for {wanted}. Use BFloat16 as WeightScaleDtype, which has the range of float32, or leave it out.");
        return rounded;
    }
}
