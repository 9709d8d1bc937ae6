using QwixSharp.Checkpoints.Layouts;
using QwixSharp.Numerics;

namespace QwixSharp.Checkpoints.CompressedTensors;

/// <summary>A tensor that a <see cref="CompressedTensorsWriter"/> will write.</summary>
/// <param name="Name">Its name; that of a quantized one ends in <c>weight</c>.</param>
/// <param name="Shape">Its shape in values; [out, in] where it is quantized.</param>
/// <param name="Dtype">The dtype of a plain tensor, or of the scales of a quantized one.</param>
/// <param name="Quantization">
/// How it is quantized; null where it is plain. Types: int4 and int8, with or without zero points, and fp8. Tiles may lie along the
/// inputs, or along inputs and outputs.
/// </param>
public sealed record CompressedTensorsTensor(string Name, IReadOnlyList<long> Shape, CheckpointDtype Dtype, TensorQuantization? Quantization = null)
{
    private const string WeightPart = "weight";

    /// <summary>The module whose weight this is.</summary>
    internal string Module => StoredParts.ModuleOf(Name, WeightPart)!;

    /// <summary>Whether it is the weight of a module.</summary>
    internal bool IsWeight => StoredParts.ModuleOf(Name, WeightPart) is not null;

    /// <summary>Whether this layout can hold a tensor.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="shape">Its shape in values.</param>
    /// <param name="quantization">How it is quantized.</param>
    /// <returns>Whether it can; else it can be written plain, or quantized anew.</returns>
    public static bool CanHold(string name, IReadOnlyList<long> shape, TensorQuantization quantization)
    {
        ArgumentNullException.ThrowIfNull(name);
        ArgumentNullException.ThrowIfNull(shape);
        ArgumentNullException.ThrowIfNull(quantization);
        bool hasType = quantization.QType == QType.Int4 || quantization.QType == QType.Int8 || quantization.QType == QType.Float8E4M3Fn;
        return hasType && shape.Count == 2 && StoredParts.ModuleOf(name, WeightPart) is not null;
    }
}
