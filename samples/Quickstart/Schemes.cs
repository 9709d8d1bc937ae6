using QwixSharp.Providers;
using QwixSharp.Rules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Samples.Quickstart;

/// <summary>The ways of quantizing that the sample compares; each is one rule.</summary>
internal static class Schemes
{
    // The linear layers. The embedding tables lie outside; the products of attention run in the layer itself, and their
    // number of tokens is no multiple of a tile.
    private const string Linears = @"layers\.\d+\.\w+";

    /// <summary>A name for each scheme, and its rule.</summary>
    public static readonly IReadOnlyList<(string Name, QuantizationRule Rule)> All =
    [
        ("int8", new QuantizationRule { ModulePath = Linears, WeightQType = "int8" }),
        ("int4, tile 32", new QuantizationRule { ModulePath = Linears, WeightQType = "int4", TileSize = 32 }),
        ("nf4, tile 32", new QuantizationRule { ModulePath = Linears, WeightQType = "nf4", TileSize = 32 }),
        ("fp8", new QuantizationRule { ModulePath = Linears, WeightQType = "fp8" }),
        ("int8 × int8 activations", new QuantizationRule { ModulePath = Linears, WeightQType = "int8", ActQType = "int8" }),
        ("int4, tile 32 × int8 activations", new QuantizationRule { ModulePath = Linears, WeightQType = "int4", TileSize = 32, ActQType = "int8" }),
    ];

    /// <summary>The one call that quantizes the encoder. The encoder itself is not changed.</summary>
    public static Module<Tensor, Tensor, Tensor> Quantize(BertEncoder encoder, QuantizationRule rule, TextBatch example) =>
        Qwix.QuantizeModel(encoder, new PtqProvider([rule]), example.Ids, example.Mask);
}
