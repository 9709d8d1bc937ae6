using System.Runtime.CompilerServices;
using QwixSharp.Kernels.Assembled;
using QwixSharp.Kernels.Threading;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>
/// One image of a 1×1 <see cref="DirectConvolution"/> where codes have their channels first. Windows share no pixels, so a thread does all there is
/// to do for some rows of the result: it brings their pixels together, sums up, finishes, and brings codes of the result apart. What lies
/// between is its own and stays in its caches.
/// </summary>
internal sealed unsafe class PixelJob : KernelJob
{
    private const int Columns = PackedWeight.PanelColumns;
    private const int Square = ByteSquare.Size;

    /// <summary>Below this many multiplications a second thread costs more than it gives.</summary>
    private const long SmallestShared = 800_000;

    /// <summary>Pixels of a unit: enough of them that each channel of the result gets a line of the cache.</summary>
    private const int LeastPixels = 48;

    [ThreadStatic]
    private static PixelJob? _cached;

    private readonly Workspace _workspace = new();
    private readonly WorkShares _shares = new();
    private WindowKernel _kernel = null!;
    private SegmentedWeight _weight = null!;
    private ConvolutionShape _shape;
    private PickedPixels _pixels;
    private ConvolutionOutput _output;
    private float _inputScale;
    private bool _bringsApart;
    private int _height;
    private int _width;
    private int _rowsAtOnce;
    private int* _start;
    private nint* _segments;
    private byte* _ownMemory;
    private long _ownBytes;
    private long _codesBytes;
    private long _resultBytes;
    private long _wideBytes;
    private long _panelRoom;
    private volatile bool _isFinite;

    /// <summary>Whether an image is convolved in this way.</summary>
    /// <param name="kernel">The inner loops.</param>
    /// <param name="shape">The sizes.</param>
    /// <param name="image">The image.</param>
    /// <param name="output">The result.</param>
    public static bool Takes(WindowKernel kernel, in ConvolutionShape shape, in ConvolutionInput image, in ConvolutionOutput output) =>
        image.Form == ImageForm.CodesChannelsFirst && !kernel.IsDepthwise && output is { Pool: null, CodesMargin: 0, Addend: 0 }
        && shape is { KernelHeight: 1, KernelWidth: 1, WidestPadding: 0, Groups: 1 };

    /// <summary>Convolves an image.</summary>
    /// <param name="kernel">The inner loops.</param>
    /// <param name="weight">The weight.</param>
    /// <param name="shape">The sizes, the image's included.</param>
    /// <param name="image">The image.</param>
    /// <param name="output">The result.</param>
    /// <param name="threads">How many threads take part.</param>
    /// <returns>Whether all values were finite.</returns>
    public static bool Run(WindowKernel kernel, SegmentedWeight weight, in ConvolutionShape shape, in ConvolutionInput image, in ConvolutionOutput output, int threads)
    {
        var job = _cached ?? new PixelJob();
        _cached = null;
        threads = (long)shape.OutHeight * shape.OutWidth * shape.OutChannels * shape.Channels < SmallestShared ? 1 : threads;
        job.Prepare(kernel, weight, shape, image, output, threads);
        KernelPool.Shared.Run(job, threads);
        job._workspace.Trim();
        _cached = job;
        return job._isFinite;
    }

    private int CodeBytes => _kernel.TakesWords ? sizeof(short) : 1;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Prepare(WindowKernel kernel, SegmentedWeight weight, in ConvolutionShape shape, in ConvolutionInput image, in ConvolutionOutput output, int threads)
    {
        (_kernel, _weight, _shape, _output, _inputScale) = (kernel, weight, shape, output, image.Scale);
        (_height, _width) = (shape.OutHeight, shape.OutWidth);
        _pixels = new PickedPixels(image, shape);
        _bringsApart = output is { ChannelsLast: false, Floats: 0 };
        _rowsAtOnce = Math.Min(_height, (LeastPixels + _width - 1) / _width);
        _shares.Begin((_height + _rowsAtOnce - 1) / _rowsAtOnce, threads, 1);
        var pixels = (long)_rowsAtOnce * _width;
        // Kernels read the codes of whole groups, which may lie behind the last pixel.
        _codesBytes = AlignedMemory.RoundUp(pixels * shape.Channels + 64);
        _resultBytes = _bringsApart ? AlignedMemory.RoundUp(pixels * shape.OutChannels) : 0;
        _wideBytes = kernel.TakesWords ? sizeof(short) * _codesBytes : 0;
        _panelRoom = AlignedMemory.RoundUp(kernel.PanelRoom(weight));
        _ownBytes = _codesBytes + _resultBytes + _wideBytes + AlignedMemory.RoundUp(weight.Panels * (long)sizeof(PreparedPanel)) + weight.Panels * _panelRoom;
        var startBytes = AlignedMemory.RoundUp((long)weight.Panels * Columns * sizeof(int));
        _start = (int*)_workspace.Reserve(startBytes + AlignedMemory.RoundUp(sizeof(nint)) + threads * _ownBytes);
        _segments = (nint*)((byte*)_start + startBytes);
        *_segments = 0;
        _ownMemory = (byte*)_segments + AlignedMemory.RoundUp(sizeof(nint));
        _isFinite = true;
        var start = kernel.Start(weight);
        for (var i = 0; i < weight.Panels * Columns; i++)
            _start[i] = -(128 + image.ZeroPoint) * weight.Sums[i] + (start == null ? 0 : start[i]);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void Run(int worker)
    {
        var codes = _ownMemory + worker * _ownBytes;
        var result = codes + _codesBytes;
        var image = _wideBytes > 0 ? result + _resultBytes : codes;
        var panels = (PreparedPanel*)(result + _resultBytes + _wideBytes);
        var room = (byte*)panels + AlignedMemory.RoundUp(_weight.Panels * (long)sizeof(PreparedPanel));
        for (var panel = 0; panel < _weight.Panels; panel++)
            panels[panel] = _kernel.Prepare(_weight, panel, _segments, room + panel * _panelRoom);
        var epilogue = new SumsEpilogue(_bringsApart ? _output with { Codes = (nint)result, ChannelsLast = true } : _output, _inputScale, _shape.OutChannels, _height, _width);
        while (_shares.Take(worker, out var unit, out _))
        {
            var (row, end) = (unit * _rowsAtOnce, Math.Min(_height, (unit + 1) * _rowsAtOnce));
            var (first, count) = (row * _width, (end - row) * _width);
            for (var target = codes; row < end; row++, target += (nint)_width * _shape.Channels)
                _pixels.Fill(row, target);
            if (_kernel.TakesWords)
                WideCodes.Widen(codes, (nint)count * _shape.Channels, (short*)image);
            Convolve(epilogue, image, panels, count, _bringsApart ? 0 : first);
            if (_bringsApart)
                BringApart(result, first, count);
        }
    }

    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Convolve(in SumsEpilogue epilogue, byte* image, PreparedPanel* prepared, int pixels, int firstPixel)
    {
        var room = stackalloc int[4 * Square * Columns + Columns];
        var sums = (int*)AlignedMemory.RoundUp(room);
        var blocks = (pixels + _kernel.MostWindows - 1) / _kernel.MostWindows;
        var windowsAtOnce = (pixels + blocks - 1) / blocks;
        WindowCall call = default;
        nint found = 0;
        WindowArgs args;
        Unsafe.SkipInit(out args);
        for (int panel = 0, panels; panel < _weight.Panels; panel += panels)
        {
            panels = Math.Min(_kernel.MostPanels(windowsAtOnce), _weight.Panels - panel);
            for (int pixel = 0, windows; pixel < pixels; pixel += windows)
            {
                windows = Math.Min(windowsAtOnce, pixels - pixel);
                if (windows != call.Windows || panels != call.Panels)
                {
                    call = new WindowCall(windows, panels, _shape.Channels * CodeBytes, _weight.Groups, _shape.Channels * CodeBytes, 1);
                    found = _kernel.Find(call);
                }
                args.Image = image + (nint)pixel * call.Step;
                args.Segments = _segments;
                args.SegmentCount = 1;
                args.Groups = _weight.Groups;
                args.Weights = prepared[panel].Codes;
                args.Panel = prepared + panel;
                args.PanelBytes = (nint)_weight.PanelBytes;
                args.Start = _start + panel * Columns;
                args.Sums = sums;
                _kernel.Run(&args, call, found);
                for (var p = 0; p < panels; p++)
                {
                    var channel = (panel + p) * Columns;
                    if (!epilogue.Finish(sums + p * windows * Columns, Columns, WindowBlocks.One(windows), _weight.Scales + channel, firstPixel + pixel, channel, Math.Min(Columns, _shape.OutChannels - channel)))
                        _isFinite = false;
                }
            }
        }
    }

    /// <summary>Brings codes of some pixels to where each channel has its own.</summary>
    /// <param name="codes">[count, out channels] codes + 128.</param>
    /// <param name="first">The first pixel.</param>
    /// <param name="count">How many pixels.</param>
    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void BringApart(byte* codes, int first, int count)
    {
        var targets = stackalloc byte*[Square];
        for (var channel = 0; channel < _shape.OutChannels; channel += Square)
        {
            var channels = Math.Min(Square, _shape.OutChannels - channel);
            for (var i = 0; i < channels; i++)
                targets[i] = (byte*)_output.Codes + (channel + i) * (long)_height * _width + first;
            for (var block = 0; block < count; block += Square)
            {
                // The last block overlaps the one before.
                var pixel = Math.Max(0, Math.Min(block, count - Square));
                var from = codes + (long)pixel * _shape.OutChannels + channel;
                if (channels == Square && count >= Square)
                    ByteSquare.Transpose(from, _shape.OutChannels, targets, pixel, ByteSquare.Sign);
                else
                    ByteSquare.Place(from, _shape.OutChannels, Math.Min(Square, count), channels, targets, pixel, ByteSquare.Sign);
            }
        }
    }
}
