using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>
/// What a 1×1 convolution reads of an image of signed codes with channels first: the pixels that a window lies on, with their channels
/// last and side by side.
/// </summary>
/// <param name="input">The image.</param>
/// <param name="shape">The sizes; no padding.</param>
internal readonly unsafe struct PickedPixels(in ConvolutionInput input, in ConvolutionShape shape)
{
    private const int Square = ByteSquare.Size;

    private readonly byte* _codes = (byte*)input.Values;
    private readonly int _channels = shape.Channels;
    private readonly int _width = shape.Width;
    private readonly nint _pixels = (nint)shape.Height * shape.Width;
    private readonly int _outWidth = shape.OutWidth;
    private readonly int _strideX = shape.StrideX;
    private readonly int _strideY = shape.StrideY;

    /// <summary>Brings a row's pixels together.</summary>
    /// <param name="row">Which row of the convolution's result.</param>
    /// <param name="memory">[out width, channels] codes + 128, the result.</param>
    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Fill(int row, byte* memory)
    {
        var square = stackalloc byte[Square * Square];
        var targets = stackalloc byte*[Square];
        for (var block = 0; block < _outWidth; block += Square)
        {
            // The last block overlaps the one before.
            var column = Math.Max(0, Math.Min(block, _outWidth - Square));
            var count = Math.Min(Square, _outWidth - column);
            for (var i = 0; i < count; i++)
                targets[i] = memory + (nint)(column + i) * _channels;
            for (var channel = 0; channel < _channels; channel += Square)
            {
                var together = Math.Min(Square, _channels - channel);
                var from = _codes + channel * _pixels + (long)row * _strideY * _width + column * _strideX;
                Pick(from, together, count, 2 * (column + Square) <= _width, square);
                if (count == Square && together == Square)
                    ByteSquare.Transpose(square, Square, targets, channel, ByteSquare.Sign);
                else
                    ByteSquare.Place(square, Square, together, count, targets, channel, ByteSquare.Sign);
            }
        }
    }

    /// <summary>Brings the codes of some channels together.</summary>
    /// <param name="from">The first pixel of the first channel.</param>
    /// <param name="channels">How many channels.</param>
    /// <param name="count">How many pixels.</param>
    /// <param name="hasPairs">Whether each pixel has one behind it in its row, also those that make up a whole square.</param>
    /// <param name="square">[channels][16], the result.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Pick(byte* from, int channels, int count, bool hasPairs, byte* square)
    {
        for (; channels > 0; channels--, from += _pixels, square += Square)
        {
            if (_strideX == 2 && hasPairs)
                Vector128.Narrow(Vector128.Load((ushort*)from), Vector128.Load((ushort*)from + Vector128<ushort>.Count)).Store(square);
            else if (_strideX == 1)
                ByteSquare.CopyPart(from, square, count);
            else
                for (var i = 0; i < count; i++)
                    square[i] = from[i * _strideX];
        }
    }
}
