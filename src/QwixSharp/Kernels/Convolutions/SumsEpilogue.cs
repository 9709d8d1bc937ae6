using System.Runtime.CompilerServices;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>The last step of a convolution: what <see cref="ConvolutionOutput"/> says, for some windows and one panel.</summary>
/// <param name="output">What becomes of them.</param>
/// <param name="inputScale">The image's scale.</param>
/// <param name="channels">The result's channels.</param>
/// <param name="height">The result's height.</param>
/// <param name="width">The result's width.</param>
internal readonly unsafe struct SumsEpilogue(in ConvolutionOutput output, float inputScale, int channels, int height, int width)
{
    private const int Columns = PackedWeight.PanelColumns;
    private const int MostWindows = 16;

    private readonly ConvolutionOutput _output = output;
    private readonly float _inputScale = inputScale;
    private readonly int _channels = channels;
    private readonly int _width = width;
    private readonly int _pixels = checked(height * width);
    private readonly float _codesPerUnit = 1 / output.CodeScale;
    private readonly float _leastCode = Math.Min(CodeOf(output.Activation.Lowest, output, output.CodeRange.Lowest), CodeOf(output.Activation.Highest, output, output.CodeRange.Highest));
    private readonly float _mostCode = CodeOf(output.Activation.Highest, output, output.CodeRange.Highest);

    /// <summary>Finishes some windows.</summary>
    /// <param name="values">The first window's int32 sums or float32 values; 16 can be read of each window, sums of 0 behind the last channel.</param>
    /// <param name="stride">From one window's values to the next one's.</param>
    /// <param name="blocks">The windows; at most 16 a block.</param>
    /// <param name="weightScales">16 scales for sums; null for float32 values, which are scaled already.</param>
    /// <param name="pixel">The first window's pixel.</param>
    /// <param name="channel">The panel's first output channel.</param>
    /// <param name="count">How many channels the panel has: 16 but in the last one of a group.</param>
    /// <returns>Whether all values are finite: the codes of others mean nothing.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public bool Finish(void* values, nint stride, in WindowBlocks blocks, float* weightScales, int pixel, int channel, int count)
    {
        var first = (long)pixel * _channels + channel;
        EpilogueArgs args;
        Unsafe.SkipInit(out args);
        args.Values = values;
        args.Stride = stride;
        args.Blocks = blocks;
        args.BlockStep = (nint)PixelsToNext(blocks) * _channels;
        args.BlockCodes = args.BlockStep + (blocks.AreRows ? (nint)2 * _output.CodesMargin * _channels : 0);
        args.InputScale = _inputScale;
        args.WeightScales = weightScales;
        args.Bias = At(_output.Bias, channel);
        args.Factor = At(_output.Factor, channel);
        args.Offset = At(_output.Offset, channel);
        args.Addend = At(_output.Addend, first);
        args.AddendStep = _channels;
        args.Activation = _output.Activation;
        args.Floats = At(_output.Floats, first);
        args.Codes = _output.Codes == 0 ? null : (byte*)_output.Codes + first + MarginsBefore(pixel);
        args.Step = _channels;
        args.CodeScale = _output.CodeScale;
        args.CodesPerUnit = _codesPerUnit;
        args.CodeZeroPoint = _output.CodeZeroPoint;
        args.AddedToCodes = _output.StoresNarrow ? 0 : 128;
        args.LowestCode = _output.CodeRange.Lowest;
        args.HighestCode = _output.CodeRange.Highest;
        args.LeastCode = _leastCode;
        args.MostCode = _mostCode;
        return count == Columns && _output.ChannelsLast ? EpilogueLoop.Run(args) : FinishStaged(ref args, pixel, channel, count);
    }

    /// <summary>The codes that lie between the rows up to a pixel.</summary>
    private long MarginsBefore(int pixel) => _output.CodesMargin == 0 ? 0 : 2L * (pixel / _width) * _output.CodesMargin * _channels;

    private int PixelsToNext(in WindowBlocks blocks) => blocks.AreRows ? _width : blocks.Windows;

    /// <summary>The code, not rounded, of a number that clamps values, or the one that clamps codes where values are not clamped.</summary>
    private static float CodeOf(float bound, in ConvolutionOutput output, int otherwise) => output.Activation.Kind == ImageActivationKind.Clamp
        ? Math.Clamp(bound / output.CodeScale + output.CodeZeroPoint, output.CodeRange.Lowest, output.CodeRange.Highest)
        : otherwise;

    private static float* At(nint values, long index) => values == 0 ? null : (float*)values + index;

    /// <summary>Where memory does not hold 16 channels of a pixel side by side, or must not be touched behind them: block by block.</summary>
    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private bool FinishStaged(ref EpilogueArgs args, int pixel, int channel, int count)
    {
        var floats = stackalloc float[MostWindows * Columns];
        var codes = stackalloc byte[MostWindows * Columns];
        var addends = stackalloc float[MostWindows * Columns];
        var parameters = stackalloc float[3 * Columns];
        var scaled = stackalloc float[MostWindows * Columns];
        var blocks = args.Blocks;
        var values = (float*)args.Values;
        var addend = args.Addend;
        var isPart = count < Columns;
        if (isPart)
        {
            args.Bias = Stage(args.Bias, 0, 1, count, parameters);
            args.Factor = Stage(args.Factor, 0, 1, count, parameters + Columns);
            args.Offset = Stage(args.Offset, 0, 1, count, parameters + 2 * Columns);
        }
        var stagesValues = isPart && args.WeightScales == null;
        var stride = args.Stride;
        args.Stride = stagesValues ? Columns : stride;
        args.AddendStep = isPart ? Columns : _channels;
        args.Floats = args.Floats == null ? null : floats;
        args.Codes = args.Codes == null ? null : codes;
        args.Step = Columns;
        args.Blocks = WindowBlocks.One(blocks.Windows);
        var isFinite = true;
        for (var block = 0; block < blocks.Count; block++, pixel += PixelsToNext(blocks), values += blocks.Stride)
        {
            args.Values = stagesValues ? Stage(values, stride, blocks.Windows, count, scaled) : values;
            if (addend != null)
                args.Addend = isPart ? Stage(addend + block * args.BlockStep, _channels, blocks.Windows, count, addends) : addend + block * args.BlockStep;
            isFinite &= EpilogueLoop.Run(args);
            if (_output.ChannelsLast)
                PlaceChannelsLast(floats, codes, blocks.Windows, pixel, channel, count);
            else
                PlaceChannelsFirst(floats, codes, blocks.Windows, pixel, channel, count);
        }
        return isFinite;
    }

    /// <summary>Rows of 16, of which those behind the last channel are 0; null stays null.</summary>
    private static float* Stage(float* from, nint step, int rows, int count, float* to)
    {
        if (from == null)
            return null;
        for (var row = 0; row < rows; row++)
        {
            var all = new Span<float>(to + row * Columns, Columns);
            new Span<float>(from + row * step, count).CopyTo(all);
            all[count..].Clear();
        }
        return to;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void PlaceChannelsLast(float* floats, byte* codes, int windows, int pixel, int channel, int count)
    {
        var first = (long)pixel * _channels + channel;
        var target = (byte*)_output.Codes + MarginsBefore(pixel);
        for (var window = 0; window < windows; window++, first += _channels)
        {
            if (_output.Floats != 0)
                new Span<float>(floats + window * Columns, count).CopyTo(new Span<float>((float*)_output.Floats + first, count));
            if (_output.Codes != 0)
                ByteSquare.CopyPart(codes + window * Columns, target + first, count);
        }
    }

    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
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
            ByteSquare.CopyPart(rows[i], (byte*)_output.Codes + (long)(channel + i) * _pixels + pixel, windows);
    }
}
