using System.Runtime.CompilerServices;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>An image of codes whose windows are the rows of a product.</summary>
internal unsafe struct ImageWindows
{
    /// <summary>[height, width, channels] codes.</summary>
    public sbyte* Image;

    /// <summary>The first channel of the group.</summary>
    public int FirstChannel;

    /// <summary>The code of what lies outside the image: the zero point.</summary>
    public sbyte Padding;

    /// <summary>The sizes.</summary>
    public ConvolutionShape Shape;

    /// <summary>Copies one window.</summary>
    /// <param name="pixel">The number of the result's pixel, row by row.</param>
    /// <param name="target">[kernel height, kernel width, channels of the group].</param>
    public readonly void Gather(int pixel, sbyte* target)
    {
        var width = Shape.OutWidth;
        var top = pixel / width * Shape.StrideY - Shape.PadTop;
        var left = pixel % width * Shape.StrideX - Shape.PadLeft;
        var channels = (uint)Shape.GroupChannels;
        for (var y = 0; y < Shape.KernelHeight; y++)
            for (var x = 0; x < Shape.KernelWidth; x++, target += channels)
            {
                var row = top + y * Shape.DilationY;
                var column = left + x * Shape.DilationX;
                if ((uint)row < (uint)Shape.Height && (uint)column < (uint)Shape.Width)
                    Unsafe.CopyBlockUnaligned(target, Image + ((long)row * Shape.Width + column) * Shape.Channels + FirstChannel, channels);
                else
                    Unsafe.InitBlockUnaligned(target, (byte)Padding, channels);
            }
    }
}
