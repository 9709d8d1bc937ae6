using System.Globalization;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Tool.Analysis;

/// <summary>A way to quantize a weight: a type, with one scale a channel or a tile.</summary>
/// <param name="QType">The type of the codes.</param>
/// <param name="TileSize">Values along the contraction that share a scale; null for one scale a channel.</param>
internal sealed record Scheme(QType QType, long? TileSize)
{
    /// <summary>Reads <c>int8</c> or <c>int4:32</c>.</summary>
    /// <exception cref="ArgumentException">It is neither.</exception>
    internal static Scheme Parse(string text)
    {
        string[] parts = text.Split(':');
        if (parts.Length > 2)
            throw new ArgumentException($"'{text}' is no scheme; write a type such as int8, or a type and a tile size such as int4:32.");
        if (parts.Length == 1)
            return new(QType.Parse(parts[0]), null);
        return long.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out long tile) && tile > 0
            ? new(QType.Parse(parts[0]), tile)
            : throw new ArgumentException($"'{parts[1]}' in '{text}' is no tile size; write a count such as 32.");
    }

    /// <summary>Whether a weight of this shape, [out, in, …], can have it: its tiles must divide the second axis.</summary>
    internal bool Fits(IReadOnlyList<long> shape) => shape.Count >= 2 && (TileSize is not { } tile || (shape.Count == 2 && shape[1] % tile == 0));

    /// <summary>The bytes of codes, as they are stored, and scales.</summary>
    internal long BytesOf(IReadOnlyList<long> shape, int scaleBits)
    {
        long values = shape.Aggregate(1L, (a, b) => a * b);
        long scales = TileSize is { } tile ? values / tile : shape[0];
        return ((values * QType.StorageBits) + 7 + (scales * scaleBits)) / 8;
    }

    /// <summary>Quantizes a weight, [out, in, …], and says how much that changes it.</summary>
    internal TensorError Measure(string name, Tensor weight)
    {
        using var scope = NewDisposeScope();
        Dictionary<int, Arrays.TileSize> tiles = TileSize is { } tile ? new() { [1] = new(tile) } : [];
        using var quantized = Qwix.Quantize(weight, QType, [0], tiles);
        var before = weight.to(ScalarType.Float32);
        var difference = quantized.Dequantize().to(ScalarType.Float32) - before;
        return TensorError.None(name) with
        {
            Values = weight.numel(),
            SquareOfA = before.square().sum(ScalarType.Float64).item<double>(),
            SquareOfDifference = difference.square().sum(ScalarType.Float64).item<double>(),
            LargestError = difference.abs().max().item<float>(),
        };
    }

    /// <inheritdoc/>
    public override string ToString() => TileSize is { } tile ? $"{QType}:{tile}" : $"{QType}";
}
