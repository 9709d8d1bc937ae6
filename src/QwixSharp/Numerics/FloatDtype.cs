using static TorchSharp.torch;

namespace QwixSharp.Numerics;

/// <summary>The names of floating-point dtypes in JSON and on command lines: those of NumPy and PyTorch.</summary>
internal static class FloatDtype
{
    /// <summary>The name of a dtype.</summary>
    internal static string NameOf(ScalarType dtype) => dtype switch
    {
        ScalarType.Float16 => "float16",
        ScalarType.BFloat16 => "bfloat16",
        ScalarType.Float32 => "float32",
        ScalarType.Float64 => "float64",
        _ => throw new ArgumentException($"{dtype} is no floating-point dtype.", nameof(dtype)),
    };

    /// <summary>The dtype of a name.</summary>
    /// <exception cref="ArgumentException">There is none of that name.</exception>
    internal static ScalarType Parse(string? name) => name switch
    {
        "float16" => ScalarType.Float16,
        "bfloat16" => ScalarType.BFloat16,
        "float32" => ScalarType.Float32,
        "float64" => ScalarType.Float64,
        _ => throw new ArgumentException($"\"{name}\" is no floating-point dtype. Known are: float16, bfloat16, float32, float64.", nameof(name)),
    };
}
