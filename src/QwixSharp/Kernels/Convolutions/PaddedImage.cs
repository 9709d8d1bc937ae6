using System.Runtime.CompilerServices;
using QwixSharp.Kernels.Activations;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>
/// An image of codes with its channels last and its padding around it, where every window lies whole; filled unit by unit, so
/// that threads can share the work.
/// </summary>
internal readonly unsafe struct PaddedImage
{
    /// <summary>Pixels that are brought together from channels that lie apart.</summary>
    private const int Square = ByteSquare.Size;

    /// <summary>Squares of a unit.</summary>
    private const int SquaresAtOnce = 4;

    private readonly ConvolutionInput _input;
    private readonly int _channels;
    private readonly int _rowPadding;
    private readonly int _left;
    private readonly byte* _inside;
    private readonly int _paddedHeight;
    private readonly byte _mask;
    private readonly byte _outside;

    /// <summary>Describes the image; nothing is written yet.</summary>
    /// <param name="input">What it is made of.</param>
    /// <param name="shape">The sizes.</param>
    /// <param name="memory"><see cref="Bytes"/> bytes.</param>
    /// <param name="isUnsigned">Whether it holds codes + 128 or signed codes.</param>
    public PaddedImage(in ConvolutionInput input, in ConvolutionShape shape, byte* memory, bool isUnsigned)
    {
        _mask = isUnsigned == (input.Form == ImageForm.UnsignedCodes) ? (byte)0 : ByteSquare.Sign;
        _outside = (byte)(input.ZeroPoint + (isUnsigned ? 128 : 0));
        _input = input;
        _channels = shape.Channels;
        _left = shape.PadLeft;
        _rowPadding = shape.PadLeft + shape.PadRight;
        _paddedHeight = shape.PadTop + shape.Height + shape.PadBottom;
        Start = memory;
        Pitch = (nint)(shape.Width + _rowPadding) * shape.Channels;
        _inside = memory + shape.PadTop * Pitch + _left * _channels;
    }

    /// <summary>The first pixel, padding included.</summary>
    public byte* Start { get; }

    /// <summary>From one row to the next, in bytes.</summary>
    public nint Pitch { get; }

    /// <summary>How many units of work it takes to fill the image.</summary>
    public int Units => 1 + (_input.IsChannelsFirst ? (Pixels + Square * SquaresAtOnce - 1) / (Square * SquaresAtOnce) : _input.Height);

    private int Pixels => _input.Height * _input.Width;

    /// <summary>The bytes that an image takes.</summary>
    /// <param name="shape">The sizes.</param>
    public static long Bytes(in ConvolutionShape shape) =>
        (long)(shape.PadTop + shape.Height + shape.PadBottom) * (shape.PadLeft + shape.Width + shape.PadRight) * shape.Channels;

    /// <summary>Fills a part.</summary>
    /// <param name="unit">Which, below <see cref="Units"/>.</param>
    /// <returns>Whether all floating-point values that became codes were finite.</returns>
    public bool Fill(int unit)
    {
        if (unit == 0)
            FillPadding();
        else if (_input.IsChannelsFirst)
            return FillPixels((unit - 1) * Square * SquaresAtOnce);
        else
            return FillRow(unit - 1);
        return true;
    }

    /// <summary>Rows above and below, and between the rows what is right of one and left of the next.</summary>
    private void FillPadding()
    {
        if (Pixels == 0)
        {
            Set(Start, _paddedHeight * Pitch);
            return;
        }
        var between = _rowPadding * _channels;
        var first = _inside - Start;
        Set(Start, first);
        var end = _inside + (_input.Height - 1) * Pitch + _input.Width * _channels;
        if (between > 0)
            for (var gap = _inside + _input.Width * _channels; gap < end; gap += Pitch)
                Set(gap, between);
        Set(end, Start + _paddedHeight * Pitch - end);
    }

    private void Set(byte* target, long count) => Unsafe.InitBlockUnaligned(target, _outside, checked((uint)count));

    private bool FillRow(int row)
    {
        var count = _input.Width * _channels;
        var target = _inside + row * Pitch;
        var first = (long)row * count;
        if (!_input.IsFloat)
        {
            ByteSquare.Copy((byte*)_input.Values + first, target, count, _mask);
            return true;
        }
        var x = (float*)_input.Values + first;
        var isFinite = RowQuantizer.AbsMax(x, count) < float.PositiveInfinity;
        RowQuantizer.Quantize(x, count, _input.Scale, _input.ZeroPoint, _input.Range, (sbyte*)target);
        ByteSquare.Copy(target, target, count, _mask);
        return isFinite;
    }

    private bool FillPixels(int first)
    {
        var targets = stackalloc byte*[Square];
        var isFinite = true;
        for (var end = Math.Min(Pixels, first + Square * SquaresAtOnce); first < end; first += Square)
        {
            // The last square overlaps the one before; the pixels that both write get the same.
            var pixel = Math.Max(0, Math.Min(first, Pixels - Square));
            var count = Math.Min(Square, Pixels - pixel);
            var (row, column) = Math.DivRem(pixel, _input.Width);
            for (var i = 0; i < count; i++)
            {
                targets[i] = _inside + row * Pitch + column * _channels;
                if (++column == _input.Width)
                    (row, column) = (row + 1, 0);
            }
            isFinite &= FillSquare(pixel, count, targets);
        }
        return isFinite;
    }

    /// <summary>Up to 16 pixels, 16 channels at a time.</summary>
    [SkipLocalsInit]
    private bool FillSquare(int pixel, int count, byte** targets)
    {
        var quantized = stackalloc sbyte[Square * Square];
        var isFinite = true;
        for (var channel = 0; channel < _channels; channel += Square)
        {
            var together = Math.Min(Square, _channels - channel);
            var from = (sbyte*)_input.Values + (long)channel * Pixels + pixel;
            nint step = Pixels;
            if (_input.IsFloat)
            {
                for (var i = 0; i < together; i++)
                {
                    var x = (float*)_input.Values + (long)(channel + i) * Pixels + pixel;
                    isFinite &= RowQuantizer.AbsMax(x, count) < float.PositiveInfinity;
                    RowQuantizer.Quantize(x, count, _input.Scale, _input.ZeroPoint, _input.Range, quantized + i * Square);
                }
                from = quantized;
                step = Square;
            }
            if (count == Square && together == Square)
                ByteSquare.Transpose((byte*)from, step, targets, channel, _mask);
            else
                ByteSquare.Place((byte*)from, step, together, count, targets, channel, _mask);
        }
        return isFinite;
    }
}
