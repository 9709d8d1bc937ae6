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

    /// <summary>Pixels that are brought into place together.</summary>
    private const int Chunk = 4 * Square;

    private readonly int _strideY;
    private readonly int _kernelHeight;
    private readonly int _padTop;
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
        (_strideY, _kernelHeight, _padTop) = (shape.StrideY, shape.DilationY == 1 ? shape.KernelHeight : shape.StrideY, shape.PadTop);
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
    public int Units => 1 + (TakesPixels ? (Pixels + Chunk - 1) / Chunk : _input.Height);

    /// <summary>Rows too short for a square are taken together.</summary>
    private bool TakesPixels => _input.IsChannelsFirst && _input.Width < Square;

    private int Pixels => _input.Height * _input.Width;

    /// <summary>The bytes that an image takes.</summary>
    /// <param name="shape">The sizes.</param>
    public static long Bytes(in ConvolutionShape shape) =>
        (long)(shape.PadTop + shape.Height + shape.PadBottom) * (shape.PadLeft + shape.Width + shape.PadRight) * shape.Channels;

    /// <summary>Fills a part.</summary>
    /// <param name="unit">Which, below <see cref="Units"/>.</param>
    /// <returns>Whether all floating-point values that became codes were finite.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public bool Fill(int unit)
    {
        if (unit == 0)
            FillPadding();
        else if (TakesPixels)
            return FillPixels((unit - 1) * Chunk, Math.Min(Pixels, unit * Chunk), 0, Pixels);
        else if (IsSeen(unit - 1) && _input.Form == ImageForm.FloatsChannelsFirst && _channels <= FewChannels.Most)
            return FewChannels.Quantize((float*)_input.Values + (long)(unit - 1) * _input.Width, Pixels, _channels, _input.Width, _input, _inside + (unit - 1) * Pitch, (byte)(_mask ^ ByteSquare.Sign));
        else if (IsSeen(unit - 1))
            return _input.IsChannelsFirst ? FillPixels((unit - 1) * _input.Width, unit * _input.Width, (unit - 1) * _input.Width, unit * _input.Width) : FillRow(unit - 1);
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

    /// <summary>Whether any window reaches a row.</summary>
    private bool IsSeen(int row) => (row + _padTop) % _strideY < _kernelHeight;

    private void Set(byte* target, long count) => Unsafe.InitBlockUnaligned(target, _outside, checked((uint)count));

    private bool FillRow(int row)
    {
        var count = _input.Width * _channels;
        var target = _inside + row * Pitch;
        var first = (long)row * (_input.Width + 2 * _input.Margin) * _channels;
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

    /// <summary>Fills some pixels in whole chunks where there is room; what is filled twice gets the same.</summary>
    /// <param name="first">The first pixel.</param>
    /// <param name="end">The pixel behind the last one.</param>
    /// <param name="begin">Where a chunk may begin.</param>
    /// <param name="last">Where it must end.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    [SkipLocalsInit]
    private bool FillPixels(int first, int end, int begin, int last)
    {
        var targets = stackalloc byte*[Chunk];
        var quantized = stackalloc sbyte[Square * Chunk];
        var isFinite = true;
        for (; first < end; first += Chunk)
        {
            var pixel = Math.Max(begin, Math.Min(first, last - Chunk));
            var count = Math.Min(Chunk, last - pixel);
            FindTargets(pixel, count, targets);
            for (var channel = 0; channel < _channels; channel += Square)
            {
                var together = Math.Min(Square, _channels - channel);
                var from = (sbyte*)_input.Values + (long)channel * Pixels + pixel;
                nint step = Pixels;
                if (_input.IsFloat)
                {
                    isFinite &= Quantize(pixel, count, channel, together, quantized);
                    from = quantized;
                    step = Chunk;
                }
                Place((byte*)from, step, count, together, targets, channel);
            }
        }
        return isFinite;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void FindTargets(int pixel, int count, byte** targets)
    {
        var (row, column) = Math.DivRem(pixel, _input.Width);
        var target = _inside + row * Pitch + column * _channels;
        for (var i = 0; i < count; i++, target += _channels)
        {
            targets[i] = target;
            if (++column < _input.Width)
                continue;
            column = 0;
            target += _rowPadding * _channels;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private bool Quantize(int pixel, int count, int channel, int together, sbyte* quantized)
    {
        var isFinite = true;
        for (var i = 0; i < together; i++)
        {
            var x = (float*)_input.Values + (long)(channel + i) * Pixels + pixel;
            isFinite &= RowQuantizer.AbsMax(x, count) < float.PositiveInfinity;
            RowQuantizer.Quantize(x, count, _input.Scale, _input.ZeroPoint, _input.Range, quantized + i * Chunk);
        }
        return isFinite;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Place(byte* from, nint step, int count, int together, byte** targets, int channel)
    {
        for (var i = 0; i < count; i += Square)
        {
            var start = Math.Max(0, Math.Min(i, count - Square));
            if (count < Square)
                ByteSquare.Place(from, step, together, count, targets, channel, _mask);
            else if (together == Square)
                ByteSquare.Transpose(from + start, step, targets + start, channel, _mask);
            else if (together <= sizeof(uint))
                ByteSquare.PlaceFew(from + start, step, together, targets + start, channel, _mask);
            else
                ByteSquare.Place(from + start, step, together, Square, targets + start, channel, _mask);
        }
    }
}
