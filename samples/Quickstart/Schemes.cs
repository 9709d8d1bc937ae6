using QwixSharp.Providers;
using QwixSharp.Rules;
using QwixSharp.Samples.Common;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Samples.Quickstart;

/// <summary>The ways of quantizing that the sample compares.</summary>
internal static class Schemes
{
    // The linear layers. The products of attention run in the layer itself, and stay in floating point: their number of
    // tokens is no multiple of a tile.
    private const string Linears = @"layers\.\d+\.\w+";

    // The embedding tables are half of the model; int8 is good enough for them in every scheme.
    private static readonly QuantizationRule Tables = new() { ModulePath = ".*_embeddings", WeightQType = "int8" };

    /// <summary>A name for each scheme, and its rule for the linear layers.</summary>
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
        Qwix.QuantizeModel(encoder, new PtqProvider([rule, Tables]), example.Ids, example.Mask);
}
