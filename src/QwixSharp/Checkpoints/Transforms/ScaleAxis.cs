using QwixSharp.Arrays;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Transforms;

/// <summary>
/// One axis of an array's scales when arrays are joined or cut along it. Where tiles do not fall together with the joints, the
/// axis gets a scale for each index, which means the same.
/// </summary>
internal static class ScaleAxis
{
    /// <summary>The tile size that all parts share along the axis, or null where each index gets a scale.</summary>
    internal static long? CommonTile(IEnumerable<(long Length, long Scales)> parts)
    {
        long[] tiles = [.. parts.Select(p => p.Length / p.Scales).Distinct()];
        return tiles.Length == 1 ? tiles[0] : null;
    }

    /// <summary>Where a range of the axis lies among its scales; null where each index gets a scale first.</summary>
    internal static (long Start, long Count)? Range(long length, long scales, long start, long count)
    {
        long tile = length / scales;
        if (start / tile == (start + count - 1) / tile)
            return (start / tile, 1);
        return start % tile == 0 && count % tile == 0 ? (start / tile, count / tile) : null;
    }

    /// <summary>Repeats the scales, or zero points, so that each index of the axis has one.</summary>
    internal static Tensor Expand(Tensor scale, int axis, long length)
    {
        var shape = scale.shape;
        shape[axis] = length;
        return GenericBroadcast.Expand(scale, shape);
    }
}
