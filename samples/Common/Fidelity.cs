using static TorchSharp.torch;

namespace QwixSharp.Samples.Common;

/// <summary>How near results come to those of the floating-point model.</summary>
public static class Fidelity
{
    /// <summary>The mean over the rows of the cosine of the angle between a row and its reference.</summary>
    /// <param name="reference">The floating-point results, <c>[rows, features]</c>.</param>
    /// <param name="actual">The results to judge, of the same shape.</param>
    public static double MeanCosine(Tensor reference, Tensor actual)
    {
        using var scope = NewDisposeScope();
        return nn.functional.cosine_similarity(reference.to(float64), actual.to(float64), dim: -1).mean().item<double>();
    }

    /// <summary>
    /// The signal-to-noise ratio in decibels: 10 log10(Σ reference² ÷ Σ (actual − reference)²), taken over all elements.
    /// Infinite when the two are equal.
    /// </summary>
    /// <inheritdoc cref="MeanCosine" path="/param"/>
    public static double SignalToNoise(Tensor reference, Tensor actual)
    {
        using var scope = NewDisposeScope();
        var signal = reference.to(float64);
        var noise = actual.to(float64) - signal;
        return 10 * Math.Log10(signal.square().sum().item<double>() / noise.square().sum().item<double>());
    }
}
