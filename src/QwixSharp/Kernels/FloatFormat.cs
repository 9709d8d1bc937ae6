namespace QwixSharp.Kernels;

/// <summary>How floating-point activations and results lie in memory. Kernels compute in float32.</summary>
internal enum FloatFormat
{
    /// <summary>Four bytes.</summary>
    Float32,

    /// <summary>The upper two bytes of a float32.</summary>
    BFloat16,

    /// <summary>IEEE's two-byte format.</summary>
    Float16,
}
