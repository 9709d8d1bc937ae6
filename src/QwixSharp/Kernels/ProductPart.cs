using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels;

/// <summary>One product of a group whose activations are the same: they are quantized once, and all panels are shared out at once.</summary>
/// <param name="Weight">w.</param>
/// <param name="Output">y, bias and activation.</param>
internal readonly record struct ProductPart(PackedWeight Weight, ProductOutput Output)
{
    /// <summary>Whether two weights want activations in the same form, so that their products can be parts of one group.</summary>
    /// <param name="a">A weight.</param>
    /// <param name="b">Another.</param>
    public static bool CanGroup(PackedWeight a, PackedWeight b) =>
        a.Format == b.Format && a.Depth == b.Depth && a.TileSize == b.TileSize && a.IsSplitChannel == b.IsSplitChannel;
}
