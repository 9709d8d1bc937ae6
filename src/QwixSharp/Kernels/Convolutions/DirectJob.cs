using System.Runtime.CompilerServices;
using QwixSharp.Kernels.Threading;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>
/// One image of a <see cref="DirectConvolution"/>, in up to two phases within one start of the threads: the padded image is filled,
/// then windows are summed up and finished.
/// </summary>
internal sealed unsafe partial class DirectJob : KernelJob
{
    private const int Columns = PackedWeight.PanelColumns;

    /// <summary>Below this many multiplications a second thread costs more than it gives.</summary>
    private const long SmallestShared = 400_000;

    /// <summary>Small enough units that a thread which is held up leaves little for the others to wait for.</summary>
    private const int UnitsPerThread = 32;

    /// <summary>Where a unit begins with panels that are prepared anew.</summary>
    private const int PreparingUnitsPerThread = 8;

    /// <summary>A tap of a depthwise kernel takes as long as so many multiplications: there are few for each value of the result.</summary>
    private const int DepthwiseTap = 4;

    /// <summary>Panels whose codes of one pixel lie in one line of the cache.</summary>
    private const int PanelsAtOnce = 4;

    /// <summary>Blocks of windows whose sums wait to be finished together, since to begin takes as long as some windows do.</summary>
    private const int MostBlocks = 4;

    /// <summary>Where sums take more multiplications, what is gained is nothing to what the sums drive out of the cache.</summary>
    private const int LongWindow = 512;

    /// <summary>A weight of more bytes goes through the second-level cache once, panel by panel, rather than once for some rows.</summary>
    private const long LargeWeight = 512 << 10;

    [ThreadStatic]
    private static DirectJob? _cached;

    private readonly Workspace _workspace = new();
    private readonly WorkShares _filling = new();
    private readonly WorkShares _summing = new();
    private WindowKernel _kernel = null!;
    private SegmentedWeight _weight = null!;
    private ConvolutionShape _shape;
    private PaddedImage _padded;
    private SumsEpilogue _epilogue;
    private ConvolutionOutput _output;
    private float _inputScale;
    private ConvolutionShape _pool;
    private (WindowCall Call, nint Found) _whole;
    private (WindowCall Call, nint Found) _lastWindows;
    private (WindowCall Call, nint Found) _lastPanels;
    private (WindowCall Call, nint Found) _lastOfBoth;
    private byte* _image;
    private nint _pitch;
    private nint* _segments;
    private int* _start;
    private int _unfilled;
    private int _outHeight;
    private int _outWidth;
    private int _windowsAtOnce;
    private int _panelsAtOnce;
    private int _blocksAtOnce;
    private int _rowsAtOnce;
    private int _rowUnits;
    private int _panelUnits;
    private bool _panelsOutside;
    private volatile bool _isFinite;

    /// <summary>Whether an image with enough padding around it is read where it lies: what is read behind a window must be the image's.</summary>
    /// <param name="isDepthwise">Whether the kernel is <see cref="WindowKernel.IsDepthwise"/>.</param>
    /// <param name="shape">The sizes.</param>
    public static bool CanReadInPlace(bool isDepthwise, in ConvolutionShape shape) => isDepthwise || shape.Channels % 4 == 0;

    /// <summary>Whether a weight is so large that it should go through the cache once.</summary>
    /// <param name="weight">The weight.</param>
    public static bool IsLarge(SegmentedWeight weight) => weight.PanelBytes * weight.Panels > LargeWeight;

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
        var job = _cached ?? new DirectJob();
        _cached = null;
        var multiplications = (long)shape.OutHeight * shape.OutWidth * shape.OutChannels * (kernel.IsDepthwise ? DepthwiseTap * shape.KernelHeight * shape.KernelWidth : shape.WindowSize);
        threads = multiplications < SmallestShared ? 1 : threads;
        job.Prepare(kernel, weight, shape, image, output, threads);
        job.Plan(threads);
        KernelPool.Shared.Run(job, threads);
        job._workspace.Trim();
        _cached = job;
        return job._isFinite;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Prepare(WindowKernel kernel, SegmentedWeight weight, in ConvolutionShape shape, in ConvolutionInput image, in ConvolutionOutput output, int threads)
    {
        (_kernel, _weight, _shape) = (kernel, weight, shape);
        (_outHeight, _outWidth) = (shape.OutHeight, shape.OutWidth);
        var liesReady = image.Form == ImageForm.UnsignedCodes && shape.WidestPadding <= image.Margin && CanReadInPlace(kernel.IsDepthwise, shape);

        long imageBytes = liesReady ? 0 : AlignedMemory.RoundUp(PaddedImage.Bytes(shape)), segmentBytes = AlignedMemory.RoundUp((long)weight.Segments * sizeof(nint));
        var startBytes = AlignedMemory.RoundUp((long)shape.Groups * weight.Panels * Columns * sizeof(int));
        var marginBytes = liesReady ? (shape.Height + 2L * image.Margin) * (shape.Width + 2 * image.Margin) * shape.Channels : 0;
        var memory = _workspace.Reserve(imageBytes + 64 + segmentBytes + startBytes + WideRoom(imageBytes + marginBytes) + PanelRooms(threads));
        _segments = (nint*)(memory + imageBytes + 64);
        _start = (int*)((byte*)_segments + segmentBytes);

        _padded = new PaddedImage(image, shape, memory, isUnsigned: true);
        _pitch = liesReady ? (nint)(shape.Width + 2 * image.Margin) * shape.Channels : _padded.Pitch;
        _image = liesReady ? (byte*)image.Values - shape.PadTop * _pitch - shape.PadLeft * shape.Channels : _padded.Start;
        ForgetPanels((byte*)_start + startBytes + WideRoom(imageBytes + marginBytes), threads);
        if (kernel.TakesWords)
            PrepareWords(liesReady ? (byte*)image.Values - image.Margin * (_pitch + shape.Channels) : _padded.Start, imageBytes + marginBytes, (byte*)_start + startBytes, threads);
        (_output, _inputScale) = (output, image.Scale);
        _epilogue = new SumsEpilogue(output, image.Scale, shape.OutChannels, _outHeight, _outWidth);
        _unfilled = liesReady ? 0 : _padded.Units;
        _filling.Begin(_unfilled, threads, Math.Max(1, _unfilled / (threads * 8)));
        _isFinite = true;
        for (var segment = 0; segment < weight.Segments; segment++)
        {
            var (row, column) = Math.DivRem(segment * weight.PlacesPerSegment, shape.KernelWidth);
            _segments[segment] = row * shape.DilationY * _pitch + (nint)column * shape.DilationX * shape.Channels * CodeBytes;
        }
        var start = kernel.Start(weight);
        for (var i = 0; i < shape.Groups * weight.Panels * Columns; i++)
            _start[i] = -(128 + image.ZeroPoint) * weight.Sums[i] + (start == null ? 0 : start[i]);
    }

    private void Plan(int threads)
    {
        var blocks = (_outWidth + _kernel.MostWindows - 1) / _kernel.MostWindows;
        _windowsAtOnce = (_outWidth + blocks - 1) / blocks;
        var panelUnits = (_weight.Panels + PanelsAtOnce - 1) / PanelsAtOnce;
        var rows = _outHeight;
        _panelUnits = panelUnits * _shape.Groups;
        _panelsOutside = IsLarge(_weight) && _panelUnits >= threads * 2;
        if (_output.Pool is { } pool)
        {
            _pool = pool.Over(_outHeight, _outWidth, _shape.OutChannels);
            (rows, _panelUnits, _panelsOutside) = (_pool.OutHeight, 1, false);
        }
        _blocksAtOnce = _weight.Segments * _weight.Groups * 4 < LongWindow ? MostBlocks : 1;
        var units = threads * (PreparesPanels || (blocks == 1 && _blocksAtOnce > 1) ? PreparingUnitsPerThread : UnitsPerThread);
        _rowsAtOnce = threads == 1 || _panelsOutside ? rows : Math.Clamp(rows * _panelUnits / units, 1, rows);
        _rowUnits = (rows + _rowsAtOnce - 1) / _rowsAtOnce;
        _panelsAtOnce = _kernel.MostPanels(_windowsAtOnce);
        var lastWindows = _outWidth - (blocks - 1) * _windowsAtOnce;
        var lastPanels = (_weight.Panels - 1) % PanelsAtOnce % _panelsAtOnce + 1;
        _whole = Call(_windowsAtOnce, _panelsAtOnce);
        _lastWindows = Call(lastWindows, _panelsAtOnce);
        _lastPanels = Call(_windowsAtOnce, lastPanels);
        _lastOfBoth = Call(lastWindows, lastPanels);
        _summing.Begin(_rowUnits * _panelUnits, threads, 1);
    }

    private (WindowCall Call, nint Found) Call(int windows, int panels)
    {
        var call = new WindowCall(windows, panels, _shape.StrideX * _shape.Channels * CodeBytes, _weight.Groups, _shape.Channels * CodeBytes, _shape.KernelWidth);
        return (call, _kernel.Find(call));
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void Run(int worker)
    {
        while (_filling.Take(worker, out var from, out var to))
        {
            for (var unit = from; unit < to; unit++)
                if (!_padded.Fill(unit))
                    _isFinite = false;
            Interlocked.Add(ref _unfilled, from - to);
        }
        WaitForImage();
        if (_kernel.TakesWords)
            Widen(worker);
        if (_output.Pool is not null)
        {
            Pool(worker);
            return;
        }
        while (_summing.Take(worker, out var unit, out _))
            Convolve(worker, unit);
    }

    /// <summary>Waits for the parts of the image that other threads have taken.</summary>
    private void WaitForImage()
    {
        for (var spins = 0; Volatile.Read(ref _unfilled) > 0; spins++)
        {
            if (spins < 4000)
                Thread.SpinWait(1);
            else
                Thread.Yield();
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Convolve(int worker, int unit)
    {
        var (panelUnit, rowUnit) = _panelsOutside ? (unit / _rowUnits, unit % _rowUnits) : (unit % _panelUnits, unit / _panelUnits);
        var (group, first) = Math.DivRem(panelUnit * PanelsAtOnce, (_panelUnits / _shape.Groups) * PanelsAtOnce);
        var last = Math.Min(first + PanelsAtOnce, _weight.Panels);
        var row = rowUnit * _rowsAtOnce;
        for (var panel = first; panel < last; panel += _panelsAtOnce)
            ConvolveRows(worker, _epilogue, group, panel, Math.Min(_panelsAtOnce, last - panel), row, Math.Min(_outHeight, row + _rowsAtOnce));
    }

    /// <summary>Sums of several blocks stay in the first-level cache until they are finished together.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void ConvolveRows(int worker, in SumsEpilogue epilogue, int group, int panel, int panels, int row, int end)
    {
        var stride = panels * _windowsAtOnce * Columns;
        if (_windowsAtOnce == _outWidth)
        {
            for (; row < end; row += _blocksAtOnce)
                ConvolveBlocks(worker, epilogue, group, panel, panels, row, 0, new WindowBlocks(_outWidth, Math.Min(_blocksAtOnce, end - row), stride, AreRows: true));
            return;
        }
        for (; row < end; row++)
            for (var column = 0; column < _outWidth;)
            {
                var left = _outWidth - column;
                var blocks = left < _windowsAtOnce ? WindowBlocks.One(left) : new WindowBlocks(_windowsAtOnce, Math.Min(_blocksAtOnce, left / _windowsAtOnce), stride, AreRows: false);
                ConvolveBlocks(worker, epilogue, group, panel, panels, row, column, blocks);
                column += blocks.Windows * blocks.Count;
            }
    }

    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void ConvolveBlocks(int worker, in SumsEpilogue epilogue, int group, int panel, int panels, int row, int column, in WindowBlocks blocks)
    {
        var room = stackalloc int[blocks.Count * panels * blocks.Windows * Columns + 16];
        var sums = (int*)AlignedMemory.RoundUp(room);
        var isWhole = blocks.Windows == _windowsAtOnce;
        ref readonly var kind = ref panels == _panelsAtOnce ? ref isWhole ? ref _whole : ref _lastWindows : ref isWhole ? ref _lastPanels : ref _lastOfBoth;
        var place = group * _weight.Panels + panel;
        var prepared = PreparesPanels ? Panel(worker, place) : null;
        var toNext = blocks.AreRows ? _shape.StrideY * _pitch : (nint)blocks.Windows * kind.Call.Step;
        WindowArgs args;
        Unsafe.SkipInit(out args);
        args.Image = _image + row * _shape.StrideY * _pitch + (_kernel.IsDepthwise ? panel * Columns : group * _shape.GroupChannels * CodeBytes) + (nint)column * kind.Call.Step;
        args.Segments = _segments;
        args.Groups = _weight.Groups;
        args.Weights = prepared == null ? _weight.Codes + place * _weight.PanelBytes : prepared->Codes;
        args.Panel = prepared;
        args.PanelBytes = (nint)_weight.PanelBytes;
        args.Start = _start + place * Columns;
        args.Sums = sums;
        for (var block = 0; block < blocks.Count; block++, args.Image += toNext, args.Sums += blocks.Stride)
        {
            // Kernels count it down.
            args.SegmentCount = _weight.Segments;
            _kernel.Run(&args, kind.Call, kind.Found);
        }
        for (var p = 0; p < panels; p++)
        {
            var channel = (panel + p) * Columns;
            var count = Math.Min(Columns, _shape.GroupOutChannels - channel);
            if (!epilogue.Finish(sums + p * blocks.Windows * Columns, Columns, blocks, _weight.Scales + (place + p) * Columns, row * _outWidth + column, group * _shape.GroupOutChannels + channel, count))
                _isFinite = false;
        }
    }
}
