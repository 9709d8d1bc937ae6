using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

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
        for (var y = 0; y < Shape.KernelHeight; y++)
        {
            var row = top + y * Shape.DilationY;
            target = (uint)row < (uint)Shape.Height ? GatherRow(row, left, target) : Pad(target, Shape.KernelWidth * Shape.GroupChannels);
        }
    }

    private readonly sbyte* GatherRow(int row, int left, sbyte* target)
    {
        var channels = Shape.GroupChannels;
        var from = Image + (long)row * Shape.Width * Shape.Channels + FirstChannel;
        if (Shape.DilationX == 1 && channels == Shape.Channels && left >= 0 && left + Shape.KernelWidth <= Shape.Width)
            return Copy(from + (long)left * channels, target, Shape.KernelWidth * channels);
        for (var x = 0; x < Shape.KernelWidth; x++)
        {
            var column = left + x * Shape.DilationX;
            target = (uint)column < (uint)Shape.Width ? Copy(from + (long)column * Shape.Channels, target, channels) : Pad(target, channels);
        }
        return target;
    }

    private readonly sbyte* Pad(sbyte* target, int count)
    {
        Unsafe.InitBlockUnaligned(target, (byte)Padding, (uint)count);
        return target + count;
    }

    /// <summary>Rows of a shallow image are so short that the call of a general copy would take most of the time.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static sbyte* Copy(sbyte* from, sbyte* target, int count)
    {
        if (count is >= 16 and <= 32)
        {
            // The two overlap where there are fewer than 32.
            var last = Vector128.Load(from + count - 16);
            Vector128.Load(from).Store(target);
            last.Store(target + count - 16);
        }
        else
            Unsafe.CopyBlockUnaligned(target, from, (uint)count);
        return target + count;
    }
}
