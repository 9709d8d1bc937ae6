using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Layouts;

/// <summary>
/// Codes of a weight [out, in] whose scales and zero points are those of the tile in which a value lies, where tiles are of
/// any size and order: (code − zero point) · scale.
/// </summary>
/// <param name="Codes">A code each, int8 or the bit patterns of a float, [out, in].</param>
/// <param name="QType">The type of the codes.</param>
/// <param name="Scale">One for each tile, [row tiles, column tiles].</param>
/// <param name="ZeroPoint">As the scales, or null.</param>
internal sealed record AffineWeight(Tensor Codes, QType QType, Tensor Scale, Tensor? ZeroPoint)
{
    /// <summary>The tile of each row; null where each row is its own or all are one.</summary>
    internal Tensor? RowTiles { get; init; }

    /// <summary>The tile of each column; null where each column is its own or all are one.</summary>
    internal Tensor? ColumnTiles { get; init; }

    /// <summary>The values.</summary>
    /// <returns>A tensor [out, in] that the caller owns.</returns>
    internal Tensor Dequantize(ScalarType dtype)
    {
        using var scope = NewDisposeScope();
        var values = Codec.Decode(Codes, QType, dtype);
        if (ZeroPoint is not null)
            values = values - Spread(ZeroPoint).to(dtype);
        return (values * Spread(Scale).to(dtype)).MoveToOuterDisposeScope();
    }

    private Tensor Spread(Tensor tiles)
    {
        if (RowTiles is not null)
            tiles = tiles.index_select(0, RowTiles);
        return ColumnTiles is null ? tiles : tiles.index_select(1, ColumnTiles);
    }
}
