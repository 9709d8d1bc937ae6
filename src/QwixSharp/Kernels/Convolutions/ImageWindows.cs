using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>An image of codes whose windows are the rows of a product.</summary>
/// <param name="image">[height, width, channels] codes.</param>
/// <param name="firstChannel">The first channel of the group.</param>
/// <param name="padding">The code of what lies outside the image: the zero point.</param>
/// <param name="shape">The sizes.</param>
internal readonly unsafe struct ImageWindows(sbyte* image, int firstChannel, sbyte padding, ConvolutionShape shape)
{
    private readonly sbyte* _image = image + firstChannel;
    private readonly sbyte _padding = padding;
    private readonly ConvolutionShape _shape = shape;

    // Sizes that take a division, which a window of a shallow image would feel.
    private readonly int _outWidth = shape.OutWidth;
    private readonly int _channels = shape.GroupChannels;
    private readonly int _windowRow = shape.KernelWidth * shape.GroupChannels;
    private readonly bool _isDense = shape.DilationX == 1 && shape.Groups == 1;

    /// <summary>Copies one window.</summary>
    /// <param name="pixel">The number of the result's pixel, row by row.</param>
    /// <param name="target">[kernel height, kernel width, channels of the group].</param>
    public void Gather(int pixel, sbyte* target)
    {
        var (y, x) = Math.DivRem(pixel, _outWidth);
        var row = y * _shape.StrideY - _shape.PadTop;
        var left = x * _shape.StrideX - _shape.PadLeft;
        var isWhole = _isDense && left >= 0 && left + _shape.KernelWidth <= _shape.Width;
        for (var i = 0; i < _shape.KernelHeight; i++, row += _shape.DilationY, target += _windowRow)
        {
            if ((uint)row >= (uint)_shape.Height)
                Pad(target, _windowRow);
            else if (isWhole)
                Copy(_image + ((long)row * _shape.Width + left) * _channels, target, _windowRow);
            else
                GatherRow(row, left, target);
        }
    }

    private void GatherRow(int row, int left, sbyte* target)
    {
        var from = _image + (long)row * _shape.Width * _shape.Channels;
        for (var x = 0; x < _shape.KernelWidth; x++, target += _channels)
        {
            var column = left + x * _shape.DilationX;
            if ((uint)column < (uint)_shape.Width)
                Copy(from + (long)column * _shape.Channels, target, _channels);
            else
                Pad(target, _channels);
        }
    }

    private void Pad(sbyte* target, int count) => Unsafe.InitBlockUnaligned(target, (byte)_padding, (uint)count);

    /// <summary>Rows of a shallow image are so short that the call of a general copy would take most of the time.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Copy(sbyte* from, sbyte* target, int count)
    {
        if (count is >= 16 and <= 32)
        {
            // The two overlap where there are fewer than 32.
            var last = Vector128.Load(from + count - 16);
            Vector128.Load(from).Store(target);
            last.Store(target + count - 16);
            return;
        }
        Unsafe.CopyBlockUnaligned(target, from, (uint)count);
    }
}
