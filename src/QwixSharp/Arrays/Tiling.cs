namespace QwixSharp.Arrays;

/// <summary>
/// How an operand of a product is cut into tiles: a tile size for the innermost axis that is contracted, or a map from
/// axes to tile sizes. Integers (counts), fractions and dictionaries convert to it.
/// </summary>
public sealed class Tiling
{
    private Tiling(TileSize? size, IReadOnlyDictionary<int, TileSize>? axes) => (Size, Axes) = (size, axes);

    /// <summary>The tile size of the innermost contracted axis; null where <see cref="Axes"/> tells.</summary>
    public TileSize? Size { get; }

    /// <summary>The tile size of each tiled axis of the operand; null where <see cref="Size"/> tells.</summary>
    public IReadOnlyDictionary<int, TileSize>? Axes { get; }

    /// <summary>Tiles along the contraction.</summary>
    /// <param name="size">The tile size.</param>
    public static implicit operator Tiling(TileSize size) => new(size, null);

    /// <summary>Tiles of a number of values along the contraction.</summary>
    /// <param name="count">The number of values.</param>
    public static implicit operator Tiling(int count) => new((TileSize)count, null);

    /// <summary>A fraction of the contraction in a tile.</summary>
    /// <param name="fraction">1 ÷ number of tiles.</param>
    public static implicit operator Tiling(double fraction) => new((TileSize)fraction, null);

    /// <summary>Tiles along axes of the operand, as two-dimensional blocks for instance.</summary>
    /// <param name="axes">From axis to tile size.</param>
    public static implicit operator Tiling(Dictionary<int, TileSize> axes) => new(null, axes);

    /// <summary>The tile size, or the map.</summary>
    /// <returns>Such as <c>32</c> or <c>{0: 32, 1: 8}</c>.</returns>
    public override string ToString() => Size?.ToString() ?? "{" + string.Join(", ", Axes!.Select(a => $"{a.Key}: {a.Value}")) + "}";
}
