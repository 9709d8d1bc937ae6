using QwixSharp.Numerics;
using QwixSharp.Providers;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.Samples.Chat;

/// <summary>How a model is quantized.</summary>
/// <param name="WeightQType">The type of the projections' weights; null leaves the model in float32.</param>
/// <param name="TileSize">How many values of a weight share a scale; null for a whole channel.</param>
/// <param name="ActQType">The type of the activations; null for float32.</param>
/// <param name="ScaleDtype">The dtype of 16 bits that scales of tiles are rounded to; null for float32.</param>
public sealed record Scheme(QType? WeightQType = null, int? TileSize = null, QType? ActQType = null, ScalarType? ScaleDtype = null)
{
    /// <summary>What <c>--compare</c> compares.</summary>
    public static IReadOnlyList<Scheme> All { get; } =
    [
        new(),
        new(QType.Int8),
        new(QType.Int8, null, QType.Int8),
        new(QType.Float8E4M3Fn),
        new(QType.NF4, 32),
        new(QType.Int4, 32),
        new(QType.Int4, 32, QType.Int8),
        new(QType.Int4, 32, QType.Int8, ScalarType.Float16),
        new(QType.Int4, 64, QType.Int8),
        new(QType.Int4),
    ];

    /// <summary>
    /// The rules. The table of tokens is int8 with a scale for each token in every scheme: it is looked up, and where it is
    /// tied it is the output layer too, from one copy.
    /// </summary>
    public IReadOnlyList<QuantizationRule> Rules =>
    [
        new() { ModulePath = @"layers\..*_proj", WeightQType = WeightQType, ActQType = ActQType, TileSize = TileSize is { } tile ? tile : null, WeightScaleDtype = ScaleDtype },
        new() { ModulePath = "embed_tokens|lm_head|", WeightQType = QType.Int8, ActQType = ActQType },
    ];

    /// <summary>Quantizes a model and gives up its float32 weights.</summary>
    /// <returns>The quantized model, or the model itself where nothing is quantized.</returns>
    public nn.Module<Tensor, IKeyValueCache?, int, Tensor> Apply(Llama model)
    {
        if (WeightQType is null)
            return model;
        using var example = zeros([1, 1], dtype: int64);
        var quantized = Qwix.QuantizeModel(model, new PtqProvider(Rules), example, null, 0);
        quantized.ReleaseOriginalWeights();
        return quantized;
    }

    /// <summary>The bytes of a model's weights.</summary>
    public static long Bytes(nn.Module<Tensor, IKeyValueCache?, int, Tensor> model)
    {
        var quantized = model as IQuantizedModel;
        var weights = quantized?.Weights ?? new Dictionary<string, Arrays.QArray>();
        var rest = (quantized?.Original ?? model).named_parameters().Where(p => !weights.ContainsKey(p.name));
        return weights.Values.Sum(w => w.ByteSize) + rest.Sum(p => p.parameter.NumberOfElements * p.parameter.ElementSize);
    }

    /// <summary>Such as <c>int4 tile 32 float16 × int8</c>.</summary>
    public override string ToString() =>
        WeightQType is null ? "float32" : WeightQType.Name + (TileSize is { } tile ? $" tile {tile}" : "") + (ScaleDtype is { } scale ? $" {scale.ToString().ToLowerInvariant()}" : "") + (ActQType is null ? "" : $" × {ActQType.Name}");
}
