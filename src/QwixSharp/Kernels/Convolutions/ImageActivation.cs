namespace QwixSharp.Kernels.Convolutions;

/// <summary>What an <see cref="ImageActivation"/> computes.</summary>
internal enum ImageActivationKind
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>min(max(v, lowest), highest).</summary>
    Clamp,

    /// <summary>min(max(v + 3, 0), 6) ÷ 6.</summary>
    HardSigmoid,

    /// <summary>v · min(max(v + 3, 0), 6) ÷ 6.</summary>
    HardSwish,
}

/// <summary>What is applied to the values of a convolution before they are stored; NaN stays NaN.</summary>
/// <param name="Kind">Which.</param>
/// <param name="Lowest">The least that is left, of the part that is clamped.</param>
/// <param name="Highest">The most that is left of it, also where it is below <paramref name="Lowest"/>.</param>
internal readonly record struct ImageActivation(ImageActivationKind Kind, float Lowest, float Highest)
{
    /// <summary>Brings values between two numbers, which may be infinite.</summary>
    /// <param name="lowest">The least that is left.</param>
    /// <param name="highest">The most that is left.</param>
    public static ImageActivation Clamp(float lowest, float highest) => new(ImageActivationKind.Clamp, lowest, highest);

    /// <summary>Whether no result is below 0.</summary>
    public bool IsNeverNegative => Kind == ImageActivationKind.HardSigmoid || Kind == ImageActivationKind.Clamp && Lowest >= 0 && Highest >= 0;

    /// <summary>max(v, 0).</summary>
    public static ImageActivation Relu => Clamp(0, float.PositiveInfinity);

    /// <summary>A sigmoid of three straight lines.</summary>
    public static ImageActivation HardSigmoid => new(ImageActivationKind.HardSigmoid, 0, 6);

    /// <summary>v times its hard sigmoid.</summary>
    public static ImageActivation HardSwish => new(ImageActivationKind.HardSwish, 0, 6);
}
