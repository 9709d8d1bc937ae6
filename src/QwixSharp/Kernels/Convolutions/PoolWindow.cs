namespace QwixSharp.Kernels.Convolutions;

/// <summary>The windows of a pool.</summary>
/// <param name="Height">The height of a window.</param>
/// <param name="Width">The width of a window.</param>
/// <param name="StrideY">Rows from one window to the next.</param>
/// <param name="StrideX">Columns from one window to the next.</param>
/// <param name="PaddingY">Rows of padding above and below; padding takes no part.</param>
/// <param name="PaddingX">Columns of padding on the left and on the right.</param>
internal readonly record struct PoolWindow(int Height, int Width, int StrideY, int StrideX, int PaddingY, int PaddingX)
{
    /// <summary>The sizes of a pool of an image.</summary>
    /// <param name="height">The image's height.</param>
    /// <param name="width">The image's width.</param>
    /// <param name="channels">The image's channels.</param>
    public ConvolutionShape Over(int height, int width, int channels) => new()
    {
        Height = height,
        Width = width,
        Channels = channels,
        OutChannels = channels,
        KernelHeight = Height,
        KernelWidth = Width,
        StrideY = StrideY,
        StrideX = StrideX,
        PadTop = PaddingY,
        PadBottom = PaddingY,
        PadLeft = PaddingX,
        PadRight = PaddingX,
    };
}
