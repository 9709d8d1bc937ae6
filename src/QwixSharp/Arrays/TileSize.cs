using System.Globalization;

namespace QwixSharp.Arrays;

/// <summary>
/// The length of the tiles into which an axis is cut, each with a scale of its own: a count of values, or a fraction
/// 1/tiles of the axis.
/// </summary>
/// <remarks>
/// A count of 1 is a scale for each value (per channel); a fraction of 1.0 is one scale for the whole axis.
/// </remarks>
public readonly record struct TileSize
{
    private readonly long _count;
    private readonly double _fraction;

    /// <summary>Tiles of a number of values.</summary>
    /// <param name="count">The number of values, positive.</param>
    /// <exception cref="ArgumentOutOfRangeException">The number is not positive.</exception>
    public TileSize(long count)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(count);
        _count = count;
    }

    /// <summary>Tiles of a fraction of the axis.</summary>
    /// <param name="fraction">1 ÷ number of tiles: above 0, at most 1.</param>
    /// <exception cref="ArgumentOutOfRangeException">The fraction is not above 0 and at most 1.</exception>
    public TileSize(double fraction)
    {
        if (!(fraction > 0 && fraction <= 1))
            throw new ArgumentOutOfRangeException(nameof(fraction), fraction, "A tile size that is a fraction is 1 ÷ number of tiles: above 0, at most 1. For a count of values, give an integer.");
        _fraction = fraction;
    }

    /// <summary>Tiles of a number of values.</summary>
    /// <param name="count">The number of values.</param>
    public static implicit operator TileSize(int count) => new((long)count);

    /// <summary>Tiles of a fraction of the axis.</summary>
    /// <param name="fraction">1 ÷ number of tiles.</param>
    public static implicit operator TileSize(double fraction) => new(fraction);

    /// <summary>The number of values in a tile of an axis.</summary>
    /// <param name="axisLength">The length of the axis.</param>
    /// <returns>The count; a fraction is rounded, half to even. May be 0 or fail to divide the axis: the caller checks.</returns>
    public long Resolve(long axisLength) => _count > 0 ? _count : (long)Math.Round(axisLength * _fraction);

    /// <summary>The count, or the fraction.</summary>
    /// <returns>The number as text.</returns>
    public override string ToString() => _count > 0
        ? _count.ToString(CultureInfo.InvariantCulture)
        : _fraction.ToString("0.0###############", CultureInfo.InvariantCulture);
}
