using QwixSharp.Providers.Lora;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Peft;

/// <summary>
/// Between the shapes of PEFT's files, lora_A [rank, in] and lora_B [out, rank], of a convolution
/// [rank, in ÷ groups, spatial…] and [out, rank, 1…], and those of the model's adapters.
/// </summary>
internal static class PeftLayout
{
    /// <summary>Views of a file's tensors in the model's shapes; the wrong shapes stay wrong.</summary>
    internal static (Tensor A, Tensor B) FromFile(LoraLayout layout, Tensor a, Tensor b) => layout == LoraLayout.Convolution
        ? (a.alias(), b.flatten(1).t())
        : a.dim() == 2 ? (a.t(), b.t()) : (a.alias(), b.alias());

    /// <summary>A model's adapter as the file has it.</summary>
    internal static (Tensor A, Tensor B) ToFile(LoraLayout layout, Tensor a, Tensor b) => layout == LoraLayout.Convolution
        ? (a.alias(), b.t().reshape([b.shape[1], b.shape[0], .. Enumerable.Repeat(1L, (int)a.dim() - 2)]))
        : (a.t(), b.t());
}
