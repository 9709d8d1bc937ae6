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
}
