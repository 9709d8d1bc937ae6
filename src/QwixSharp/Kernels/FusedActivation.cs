namespace QwixSharp.Kernels;

/// <summary>What is applied to a product after scale and bias, in the same pass.</summary>
internal enum FusedActivation
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>max(y, 0); NaN stays NaN.</summary>
    Relu,

    /// <summary>y · Φ(y); see <see cref="Kernels.Gelu"/>.</summary>
    Gelu,
}
