using System.Runtime.CompilerServices;
using QwixSharp.Providers.Odml.Device;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Odml;

/// <summary>What is known of a tensor inside a forward pass. A tensor without one is a weight or a constant.</summary>
internal sealed record TensorTag
{
    /// <summary>Whether the tensor depends on an input of the model.</summary>
    internal bool IsActivation { get; init; }

    /// <summary>
    /// The rule by which the next op should quantize the tensor: an output is not quantized at once, so that what follows
    /// may fuse with the op.
    /// </summary>
    internal QuantizationRule? Pending { get; init; }

    /// <summary>The range of the values, where the op that made them has a fixed one.</summary>
    internal (double Min, double Max)? Range { get; init; }

    /// <summary>Whether a constant that is added, or batch norm, fuses into the op that made the tensor.</summary>
    internal bool AllowsFusion { get; init; }

    /// <summary>Whether the tensor is a constant's fake-quantized form.</summary>
    internal bool IsConstant { get; init; }

    /// <summary>Whether the values are those of a fake-quant already.</summary>
    internal bool IsQuantized { get; init; }

    /// <summary>The sums on the device, where the tensor is a product with a bias that may fuse.</summary>
    internal ProductSums? Sums { get; init; }

    /// <summary>What the device's kernel gives for the op that made the tensor; null where arithmetic on the values rounds as well.</summary>
    internal DeviceKernel? Kernel { get; init; }

    /// <summary>Whether the op that made the tensor has one output scale on the device, 1/32768, if its codes are int16.</summary>
    internal bool HasFixedScale16 { get; init; }

    /// <summary>Whether the tensor is a part of a linear layer's result, by its features: on the device each part is a product of its own.</summary>
    internal bool SplitsWithProduct { get; init; }

    /// <summary>The codes that the values have, where these are fixed numbers already.</summary>
    internal FakeQuantAnnotation? Codes { get; init; }

    /// <summary>The memory behind the tensor, which its views share.</summary>
    internal TensorMemoryVersion Memory { get; init; } = new();
}

/// <summary>Counts how often ops in place have written to the memory of a tensor and its views.</summary>
internal sealed class TensorMemoryVersion
{
    internal int Writes { get; set; }
}

/// <summary>A tensor's fake-quantized form, which serves all ops that want it by the same rule.</summary>
/// <param name="Value">The fake-quantized tensor.</param>
/// <param name="Rule">The rule.</param>
/// <param name="Writes">How often the tensor's memory had been written to.</param>
internal sealed record QuantizedForm(Tensor Value, QuantizationRule Rule, int Writes);

/// <summary>
/// The tags of the tensors of one forward pass, by object: what an op returns is what the model passes on. Safe for
/// several threads.
/// </summary>
internal sealed class TensorTags
{
    private readonly ConditionalWeakTable<Tensor, TensorTag> _tags = [];
    private readonly ConditionalWeakTable<Tensor, QuantizedForm> _forms = [];

    internal TensorTag? this[Tensor tensor]
    {
        get => _tags.TryGetValue(tensor, out var tag) ? tag : null;
        set => _tags.AddOrUpdate(tensor, value!);
    }

    /// <summary>The fake-quantized form of a tensor, if it has one and was not written to since.</summary>
    internal QuantizedForm? FormOf(Tensor tensor) =>
        _forms.TryGetValue(tensor, out var form) && form.Writes == Writes(tensor) ? form : null;

    internal void SetForm(Tensor tensor, Tensor value, QuantizationRule rule) =>
        _forms.AddOrUpdate(tensor, new QuantizedForm(value, rule, Writes(tensor)));

    private int Writes(Tensor tensor) => this[tensor]?.Memory.Writes ?? 0;
}
