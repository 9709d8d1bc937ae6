namespace QwixSharp.Kernels.Passes;

/// <summary>A matrix whose rows are cut into tiles that have a scale each.</summary>
/// <param name="Rows">Rows.</param>
/// <param name="Columns">Elements of a row; rows follow each other without gaps.</param>
/// <param name="TileSize">Elements that share a scale; <paramref name="Columns"/> or more for one scale a row.</param>
internal readonly record struct RowShape(long Rows, long Columns, long TileSize)
{
    /// <summary>Scales of a row.</summary>
    public long Tiles => (Columns + TileSize - 1) / TileSize;

    /// <summary>The elements of a tile.</summary>
    /// <param name="tile">The tile's number in its row.</param>
    public long Length(long tile) => Math.Min(TileSize, Columns - tile * TileSize);

    /// <summary>The tile that an element belongs to.</summary>
    /// <param name="element">The element's place in memory.</param>
    /// <returns>The tile's number in the whole matrix, and the element behind its last one.</returns>
    public (long Tile, long End) TileOf(long element)
    {
        long row = element / Columns, tile = (element - row * Columns) / TileSize;
        return (row * Tiles + tile, row * Columns + Math.Min(Columns, (tile + 1) * TileSize));
    }

    /// <summary>Checks the sizes.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A negative size or an empty tile.</exception>
    public void Check()
    {
        ArgumentOutOfRangeException.ThrowIfNegative(Rows);
        ArgumentOutOfRangeException.ThrowIfNegative(Columns);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(TileSize);
    }
}
