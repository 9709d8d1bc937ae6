using QwixSharp.Providers;
using QwixSharp.Rules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Samples.ResNet18;

/// <summary>The ways of quantizing that the sample compares; each is one rule.</summary>
internal static class Schemes
{
    /// <summary>A name for each scheme, and its rule.</summary>
    public static readonly IReadOnlyList<(string Name, QuantizationRule Rule)> All =
    [
        ("int8", new QuantizationRule { ModulePath = ".*", WeightQType = "int8" }),
        ("int4", new QuantizationRule { ModulePath = ".*", WeightQType = "int4" }),
        ("nf4", new QuantizationRule { ModulePath = ".*", WeightQType = "nf4" }),
        ("fp8", new QuantizationRule { ModulePath = ".*", WeightQType = "fp8" }),
        ("int8 × int8 activations", new QuantizationRule { ModulePath = ".*", WeightQType = "int8", ActQType = "int8" }),
        ("int4 × int8 activations", new QuantizationRule { ModulePath = ".*", WeightQType = "int4", ActQType = "int8" }),
    ];

    /// <summary>The one call that quantizes the network. The network itself is not changed.</summary>
    public static Module<Tensor, Tensor> Quantize(ResNet18 network, QuantizationRule rule, Tensor example) =>
        Qwix.QuantizeModel(network, new PtqProvider([rule]), example);
}
