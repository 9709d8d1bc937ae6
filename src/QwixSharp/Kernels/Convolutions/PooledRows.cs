using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>
/// A max pool of rows that come one after the other, for one thread: each is pooled along itself when it comes, and a row of the
/// result is the largest of some of them.
/// </summary>
internal sealed unsafe class PooledRows
{
    private const int Block = 16;

    private readonly Workspace _workspace = new();
    private ConvolutionShape _shape;
    private ConvolutionShape _alongRow;
    private SumsEpilogue _epilogue;
    private float* _kept;
    private float* _most;
    private long _stride;
    private int _begin;
    private int _end;

    /// <summary>The values of a row of the result.</summary>
    private int Length => _alongRow.OutWidth * _shape.Channels;

    /// <summary>Where the next row is to be written: [width, channels].</summary>
    public float* Line { get; private set; }

    /// <summary>Begins a pool; no row is there.</summary>
    /// <param name="shape">The sizes of the pool.</param>
    /// <param name="output">Where its result goes.</param>
    public void Begin(in ConvolutionShape shape, in ConvolutionOutput output)
    {
        _shape = shape;
        _alongRow = shape with { Height = 1, KernelHeight = 1, StrideY = 1, PadTop = 0, PadBottom = 0 };
        var stored = new ConvolutionOutput
        {
            Floats = output.Floats,
            Codes = output.Codes,
            CodesMargin = output.CodesMargin,
            ChannelsLast = output.ChannelsLast,
            CodeScale = output.CodeScale,
            CodeZeroPoint = output.CodeZeroPoint,
            CodeRange = output.CodeRange,
            StoresNarrow = output.StoresNarrow,
        };
        _epilogue = new SumsEpilogue(stored, 1, shape.Channels, shape.OutHeight, shape.OutWidth);
        var line = Round((long)shape.Width * shape.Channels);
        _stride = Round(Length);
        Line = (float*)_workspace.Reserve((line + (shape.KernelHeight + 1) * _stride) * sizeof(float));
        _most = Line + line;
        _kept = _most + _stride;
        (_begin, _end) = (0, 0);

        // Whole lines of the cache, and room for the last block to be read whole.
        static long Round(long values) => values + 2 * Block - 1 & -Block;
    }

    /// <summary>Whether a row of the result needs another row.</summary>
    /// <param name="row">The row of the result.</param>
    /// <param name="lacking">The row of the image that is needed next.</param>
    public bool Lacks(int row, out int lacking)
    {
        var (first, last) = Window(row);
        if (first < _begin || first > _end)
            (_begin, _end) = (first, first);
        lacking = _end;
        return _end < last;
    }

    /// <summary>Takes over the row that was written.</summary>
    /// <param name="row">The row of the image.</param>
    public void Take(int row)
    {
        ImagePooling.MaxOfRow(Line, _alongRow, 0, Kept(row));
        _end = row + 1;
        _begin = Math.Max(_begin, _end - _shape.KernelHeight);
    }

    /// <summary>Stores a row of the result.</summary>
    /// <param name="row">The row of the result.</param>
    /// <returns>Whether all values are finite.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public bool Finish(int row)
    {
        var (first, last) = Window(row);
        int width = _alongRow.OutWidth, channels = _shape.Channels;
        float* values = Kept(first), most = _most;
        for (var next = first + 1; next < last; next++, values = most)
        {
            var others = Kept(next);
            for (var i = 0; i < width * channels; i += Block)
                Vector512.MaxNative(Vector512.Load(values + i), Vector512.Load(others + i)).Store(most + i);
        }
        var isFinite = true;
        for (var column = 0; column < width; column += Block)
            for (var channel = 0; channel < channels; channel += Block)
                isFinite &= _epilogue.Finish(values + (long)column * channels + channel, channels, WindowBlocks.One(Math.Min(Block, width - column)), null, row * width + column, channel, Math.Min(Block, channels - channel));
        return isFinite;
    }

    /// <summary>Ends the pool.</summary>
    public void End() => _workspace.Trim();

    /// <summary>The rows of the image that a row of the result is made of.</summary>
    private (int First, int Last) Window(int row)
    {
        var top = row * _shape.StrideY - _shape.PadTop;
        return (Math.Max(0, top), Math.Min(_shape.Height, top + _shape.KernelHeight));
    }

    private float* Kept(int row) => _kept + row % _shape.KernelHeight * _stride;
}
