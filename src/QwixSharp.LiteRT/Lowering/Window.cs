namespace QwixSharp.LiteRT.Lowering;

/// <summary>How a window moves along one axis of an image.</summary>
/// <param name="Size">The axis's size, without padding.</param>
/// <param name="Kernel">The window's size.</param>
/// <param name="Stride">How far it moves.</param>
/// <param name="Dilation">The distance of its elements.</param>
/// <param name="Low">Padding in front.</param>
/// <param name="High">Padding behind.</param>
internal readonly record struct Window(int Size, int Kernel, int Stride, int Dilation, int Low, int High)
{
    internal int Extent => ((Kernel - 1) * Dilation) + 1;

    internal int Outputs => ((Size + Low + High - Extent) / Stride) + 1;

    /// <summary>Whether there is no padding.</summary>
    internal bool IsInside => Low == 0 && High == 0;

    /// <summary>
    /// Whether it is what LiteRT means by SAME: as many results as steps in the axis, and an odd element of padding behind.
    /// Padding behind that no window reaches does not matter.
    /// </summary>
    internal bool IsSame
    {
        get
        {
            int outputs = (Size + Stride - 1) / Stride;
            int total = Math.Max(0, ((outputs - 1) * Stride) + Extent - Size);
            return outputs == Outputs && Low == total / 2;
        }
    }
}
