using QwixSharp.Arrays;
using static TorchSharp.torch;

namespace QwixSharp.Ops.Training;

/// <summary>
/// Quantizes what changes with every step of training. Here, and nowhere else, a weight in floating point becomes the
/// array whose packed form the kernels read.
/// </summary>
internal static class StepQuantizer
{
    /// <summary>Quantizes an operand with the range of its own values.</summary>
    internal static QArray Quantize(Tensor array, HowToQuantize how) => Quantizer.Quantize(array, how);

    /// <summary>
    /// Quantizes the right side of a product with the range of its own values, where possible straight into the form that
    /// the kernels read.
    /// </summary>
    /// <param name="array">The operand.</param>
    /// <param name="how">How it is quantized.</param>
    /// <param name="keepsCodes">Whether the backward pass needs the codes.</param>
    internal static QArray QuantizeRight(Tensor array, HowToQuantize how, bool keepsCodes) =>
        PackedForm.TryQuantize(array, how, keepsCodes) ?? Quantize(array, how);
}
