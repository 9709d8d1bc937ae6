using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Arrays;

/// <summary>All that decides how one array is quantized.</summary>
public sealed record HowToQuantize
{
    private readonly QType _qtype = QType.Int8;
    private readonly IReadOnlyDictionary<int, TileSize> _tiledAxes = new Dictionary<int, TileSize>();

    /// <summary>The type of the codes.</summary>
    public required QType QType
    {
        get => _qtype;
        init => _qtype = value ?? throw new ArgumentNullException(nameof(value));
    }

    /// <summary>The axes along which every index has a scale of its own.</summary>
    public IReadOnlyList<int> ChannelwiseAxes { get; init; } = [];

    /// <summary>The axes that are cut into tiles with a scale each (sub-channel quantization), and the size of their tiles.</summary>
    public IReadOnlyDictionary<int, TileSize> TiledAxes
    {
        get => _tiledAxes;
        init => _tiledAxes = value ?? throw new ArgumentNullException(nameof(value));
    }

    /// <summary>How the range is found; <c>absmax</c> unless told.</summary>
    public CalibrationMethod Calibration { get; init; } = CalibrationMethod.AbsMax();

    /// <summary>
    /// Float16 or bfloat16: scales are rounded to numbers of it before codes are computed, so that they take 16 bits wherever
    /// they are stored. Their tensor keeps the array's dtype, in which the array is computed with. Null does not round them.
    /// </summary>
    public ScalarType? ScaleDtype { get; init; }

    /// <summary>
    /// Makes noise for stochastic rounding: it is given the array's shape and returns a float32 tensor that broadcasts
    /// to it. Null rounds to nearest.
    /// </summary>
    public Func<long[], Tensor>? Noise { get; init; }

    /// <summary>The shape of the scales of an array.</summary>
    /// <param name="shape">The shape of the array.</param>
    /// <returns>One number an axis: its length, its number of tiles, or 1.</returns>
    /// <exception cref="ArgumentException">An axis is both channelwise and tiled, is not there, or does not divide into its tiles; or a micro-scaled type has other tiles than its own.</exception>
    public long[] ScaleShape(ReadOnlySpan<long> shape)
    {
        CheckMicroScaled();
        foreach (int axis in ChannelwiseAxes.Concat(TiledAxes.Keys))
        {
            if (axis < 0 || axis >= shape.Length)
                throw new ArgumentException($"Axis {axis} is not an axis of an array of shape {Format(shape)}.");
        }

        var scaleShape = new long[shape.Length];
        for (int axis = 0; axis < shape.Length; axis++)
        {
            bool channelwise = ChannelwiseAxes.Contains(axis);
            if (!TiledAxes.TryGetValue(axis, out var tile))
            {
                scaleShape[axis] = channelwise ? shape[axis] : 1;
                continue;
            }

            if (channelwise)
                throw new ArgumentException($"Axis {axis} cannot be both channelwise and tiled.");
            long size = tile.Resolve(shape[axis]);
            if (size <= 0 || shape[axis] % size != 0)
                throw new ArgumentException($"A tile size of {tile} does not divide axis {axis} of an array of shape {Format(shape)}. Choose a divisor of {shape[axis]}.");
            scaleShape[axis] = shape[axis] / size;
        }

        return scaleShape;
    }

    /// <summary>The tiled axes with tile sizes as counts.</summary>
    internal SortedDictionary<int, long> ResolveTiles(ReadOnlySpan<long> shape)
    {
        var tiles = new SortedDictionary<int, long>();
        foreach (var (axis, tile) in TiledAxes)
            tiles[axis] = tile.Resolve(shape[axis]);
        return tiles;
    }

    internal static string Format(ReadOnlySpan<long> shape) => $"[{string.Join(", ", shape.ToArray())}]";

    private void CheckMicroScaled()
    {
        if (QType.RequiredTileSize is not { } required)
            return;
        if (TiledAxes.Count == 0)
            throw new ArgumentException($"{QType} needs tiles: set a tile size of {required}.");
        foreach (var (axis, tile) in TiledAxes)
        {
            if (tile != new TileSize((long)required))
                throw new ArgumentException($"{QType} needs tiles of {required}, but axis {axis} has tiles of {tile}.");
        }
    }
}
