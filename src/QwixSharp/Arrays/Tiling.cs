namespace QwixSharp.Arrays;

/// <summary>
/// Where an operand of a product is cut into tiles: along its contraction with one tile size, or along axes that the
/// user names. Numbers and maps convert to it.
/// </summary>
/// <remarks>Which axis "the contraction" is, the op decides: <c>dot_general</c> and <c>einsum</c> take their last one.</remarks>
public sealed class Tiling
{
    private Tiling(TileSize? contraction, IReadOnlyDictionary<int, TileSize>? axes)
    {
        Contraction = contraction;
        Axes = axes;
    }

    /// <summary>The tile size along the contraction; null where <see cref="Axes"/> says which axes are tiled.</summary>
    public TileSize? Contraction { get; }

    /// <summary>The tile size of each tiled axis of the operand; null where <see cref="Contraction"/> is given.</summary>
    public IReadOnlyDictionary<int, TileSize>? Axes { get; }

    /// <summary>Tiles along the contraction.</summary>
    /// <param name="size">Their size.</param>
    public static implicit operator Tiling(TileSize size) => new(size, null);

    /// <summary>Tiles of a number of values along the contraction.</summary>
    /// <param name="count">The number of values, positive.</param>
    public static implicit operator Tiling(int count) => new(new TileSize((long)count), null);

    /// <summary>Tiles of a fraction of the contraction.</summary>
    /// <param name="fraction">1 ÷ number of tiles.</param>
    public static implicit operator Tiling(double fraction) => new(new TileSize(fraction), null);

    /// <summary>Tiles along axes of the operand.</summary>
    /// <param name="axes">From axis to tile size.</param>
    public static implicit operator Tiling(Dictionary<int, TileSize> axes)
    {
        ArgumentNullException.ThrowIfNull(axes);
        return new(null, new Dictionary<int, TileSize>(axes));
    }

    /// <summary>The tile size, or the tile size of each axis.</summary>
    /// <returns>Text such as <c>32</c> or <c>{0: 32, 2: 0.25}</c>.</returns>
    public override string ToString() => Axes is null
        ? Contraction!.Value.ToString()
        : $"{{{string.Join(", ", Axes.Select(p => $"{p.Key}: {p.Value}"))}}}";

    /// <summary>The tiled axes of an operand whose contraction is tiled on one axis; none where it has no contraction.</summary>
    internal static IReadOnlyDictionary<int, TileSize> Resolve(Tiling? tiling, int? contractionAxis) => tiling switch
    {
        { Axes: { } axes } => axes,
        { Contraction: { } size } when contractionAxis is { } axis => new Dictionary<int, TileSize> { [axis] = size },
        _ => new Dictionary<int, TileSize>(),
    };
}
