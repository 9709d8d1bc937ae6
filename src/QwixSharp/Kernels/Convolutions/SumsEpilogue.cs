using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>The last step of a convolution: what <see cref="ConvolutionOutput"/> says, for some windows and one panel.</summary>
/// <param name="output">What becomes of them.</param>
/// <param name="inputScale">The image's scale.</param>
/// <param name="channels">The result's channels.</param>
/// <param name="pixels">The result's pixels.</param>
internal readonly unsafe struct SumsEpilogue(in ConvolutionOutput output, float inputScale, int channels, int pixels)
{
    private const int Columns = PackedWeight.PanelColumns;
    private const int MostWindows = 16;

    /// <summary>Added to a float32 of moderate size, this rounds it half to even and leaves it + 128 in the lowest byte.</summary>
    private const float Rounding = 12582912f + 128f;

    private readonly ConvolutionOutput _output = output;
    private readonly float _inputScale = inputScale;
    private readonly int _channels = channels;
    private readonly int _pixels = pixels;
    private readonly float _codesPerUnit = 1 / output.CodeScale;

    /// <summary>Finishes a block of sums.</summary>
    /// <param name="sums">[windows][16].</param>
    /// <param name="windows">How many windows; at most 16.</param>
    /// <param name="weightScales">16 scales.</param>
    /// <param name="pixel">The first window's pixel.</param>
    /// <param name="channel">The panel's first output channel.</param>
    /// <param name="count">How many channels the panel has: 16 but in the last one of a group.</param>
    /// <returns>Whether all values are finite: the codes of others mean nothing.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public bool Finish(int* sums, int windows, float* weightScales, int pixel, int channel, int count)
    {
        var inputScale = Vector512.Create(_inputScale);
        var weightScale = Vector512.Load(weightScales);
        for (var i = 0; i < windows * Columns; i += Columns)
            (Vector512.ConvertToSingle(Vector512.Load(sums + i)) * inputScale * weightScale).Store((float*)sums + i);
        return FinishScaled((float*)sums, Columns, windows, pixel, channel, count);
    }

    /// <summary>Finishes a block of sums that are scaled already.</summary>
    /// <param name="values">The first window's values; 16 can be read of each.</param>
    /// <param name="stride">From one window's values to the next one's.</param>
    /// <param name="windows">How many windows; at most 16.</param>
    /// <param name="pixel">The first window's pixel.</param>
    /// <param name="channel">The panel's first output channel.</param>
    /// <param name="count">How many channels the panel has.</param>
    /// <returns>Whether all values are finite.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    [SkipLocalsInit]
    public bool FinishScaled(float* values, nint stride, int windows, int pixel, int channel, int count)
    {
        var stagedFloats = stackalloc float[MostWindows * Columns];
        var stagedCodes = stackalloc byte[MostWindows * Columns];
        var bias = Load((float*)_output.Bias, channel, count);
        var factor = Load((float*)_output.Factor, channel, count);
        var offset = Load((float*)_output.Offset, channel, count);
        var addend = (float*)_output.Addend + (long)pixel * _channels;
        var channelsLast = _output.ChannelsLast;
        var floats = channelsLast ? (float*)_output.Floats + (long)pixel * _channels + channel : stagedFloats;
        var codes = channelsLast ? (byte*)_output.Codes + (long)pixel * _channels + channel : stagedCodes;
        var step = channelsLast ? _channels : Columns;
        var finite = Vector512<float>.Zero;
        for (var window = 0; window < windows; window++, values += stride)
        {
            var v = Vector512.Load(values);
            if (_output.Bias != 0)
                v += bias;
            if (_output.Factor != 0)
                v = Vector512.FusedMultiplyAdd(v, factor, offset);
            if (_output.Addend != 0)
            {
                v += Load(addend, channel, count);
                addend += _channels;
            }
            if (_output.Activation != FusedActivation.None)
                v = Activate(v);
            // 0 · v is not 0 for infinity and NaN.
            finite = Vector512.FusedMultiplyAdd(v, Vector512<float>.Zero, finite);
            if (_output.Floats != 0)
            {
                Store(v, floats, channelsLast ? count : Columns);
                floats += step;
            }
            if (_output.Codes != 0)
            {
                Store(Quantize(v), codes, channelsLast ? count : Columns);
                codes += step;
            }
        }
        if (!channelsLast)
            PlaceChannelsFirst(stagedFloats, stagedCodes, windows, pixel, channel, count);
        return count < Columns ? IsFinite(finite, count) : Vector512.EqualsAll(finite, Vector512<float>.Zero);
    }

    private void PlaceChannelsFirst(float* floats, byte* codes, int windows, int pixel, int channel, int count)
    {
        if (_output.Floats != 0)
            Epilogue.Store(floats, windows, new ProductOutput(_output.Floats, 1, 0, FusedActivation.None, _pixels), pixel, channel, count);
        if (_output.Codes == 0)
            return;
        var square = stackalloc byte[Columns * MostWindows];
        var rows = stackalloc byte*[Columns];
        for (var i = 0; i < Columns; i++)
            rows[i] = square + i * MostWindows;
        ByteSquare.Transpose(codes, Columns, rows, 0, ByteSquare.Sign);
        for (var i = 0; i < count; i++)
            Copy(rows[i], (byte*)_output.Codes + (long)(channel + i) * _pixels + pixel, windows);
    }

    /// <summary>Up to 16 bytes, as two words that overlap.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Copy(byte* from, byte* to, int count)
    {
        if (count >= sizeof(ulong))
        {
            Unsafe.WriteUnaligned(to, Unsafe.ReadUnaligned<ulong>(from));
            Unsafe.WriteUnaligned(to + count - sizeof(ulong), Unsafe.ReadUnaligned<ulong>(from + count - sizeof(ulong)));
            return;
        }
        for (var i = 0; i < count; i++)
            to[i] = from[i];
    }

    /// <summary>Behind the last channel anything may lie.</summary>
    private static bool IsFinite(Vector512<float> products, int count)
    {
        for (var i = 0; i < count; i++)
            if (products.GetElement(i) != 0)
                return false;
        return true;
    }

    /// <summary>
    /// Codes + 128 in the lowest byte of each lane. The quotient is that of a division: a product with the reciprocal, corrected by
    /// what it leaves over (Markstein, Computation of Elementary Functions on the IBM RISC System/6000 Processor, 1990).
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private Vector512<uint> Quantize(Vector512<float> v)
    {
        var reciprocal = Vector512.Create(_codesPerUnit);
        var quotient = v * reciprocal;
        var rest = Vector512.FusedMultiplyAdd(-quotient, Vector512.Create(_output.CodeScale), v);
        quotient = Vector512.FusedMultiplyAdd(rest, reciprocal, quotient) + Vector512.Create((float)_output.CodeZeroPoint);
        quotient = Vector512.MaxNative(Vector512.MinNative(quotient, Vector512.Create((float)_output.CodeRange.Highest)), Vector512.Create((float)_output.CodeRange.Lowest));
        return (quotient + Vector512.Create(Rounding)).AsUInt32();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private Vector512<float> Activate(Vector512<float> v)
    {
        v = Vector512.Max(v, Vector512<float>.Zero);
        return _output.Activation == FusedActivation.Relu ? v : Vector512.Min(v, Vector512.Create(6f));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Load(float* values, int channel, int count) =>
        values == null ? default : count == Columns ? Vector512.Load(values + channel) : LoadPart(values + channel, count);

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static Vector512<float> LoadPart(float* values, int count)
    {
        Vector512<float> part = default;
        new ReadOnlySpan<float>(values, count).CopyTo(new Span<float>(&part, Columns));
        return part;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(Vector512<float> v, float* target, int count)
    {
        if (count == Columns)
            v.Store(target);
        else
            new ReadOnlySpan<float>(&v, count).CopyTo(new Span<float>(target, count));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(Vector512<uint> codes, byte* target, int count)
    {
        var bytes = Avx512F.IsSupported ? Avx512F.ConvertToVector128Byte(codes) : Narrow(codes & Vector512.Create(0xFFu));
        if (count == Columns)
            bytes.Store(target);
        else
            new ReadOnlySpan<byte>(&bytes, count).CopyTo(new Span<byte>(target, count));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<byte> Narrow(Vector512<uint> codes)
    {
        var words = Vector256.Narrow(codes.GetLower(), codes.GetUpper());
        return Vector128.Narrow(words.GetLower(), words.GetUpper());
    }
}
