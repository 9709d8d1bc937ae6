using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using QwixSharp.Kernels.Threading;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>The weight of a <see cref="DepthwiseConvolution"/>.</summary>
internal unsafe struct DepthwiseWeight
{
    /// <summary>[panel][tap][16].</summary>
    public required short* Codes;

    /// <summary>[panel][16].</summary>
    public required float* Scales;

    /// <summary>[panel][16] sums of the codes.</summary>
    public required int* Sums;

    /// <summary>Values that a kernel has.</summary>
    public required int Taps;

    /// <summary>Panels of 16 channels.</summary>
    public required int Panels;
}

/// <summary>One image of a <see cref="DepthwiseConvolution"/>: threads take rows of the result.</summary>
internal sealed unsafe class DepthwiseJob : KernelJob
{
    /// <summary>Channels at once.</summary>
    public const int Columns = PackedWeight.PanelColumns;

    /// <summary>Below this many multiplications a second thread costs more than it gives.</summary>
    public const long SmallestShared = 100_000;

    /// <summary>Pixels whose sums are scaled and stored together.</summary>
    private const int Block = 16;

    [ThreadStatic]
    private static DepthwiseJob? _cached;

    private readonly Workspace _workspace = new();
    private DepthwiseWeight _weight;
    private ConvolutionShape _shape;
    private SumsEpilogue _epilogue;
    private sbyte* _image;
    private int _zeroPoint;
    private int _outHeight;
    private int _outWidth;
    private int _next;
    private volatile bool _isFinite;

    /// <summary>A pixel of what lies outside the image, for all panels; behind it, room for the taps of each thread.</summary>
    private sbyte* _outside;

    /// <summary>Convolves an image.</summary>
    /// <param name="weight">The weight.</param>
    /// <param name="shape">The sizes, the image's included.</param>
    /// <param name="codes">[height, width, channels] signed codes.</param>
    /// <param name="image">The image's scale and zero point.</param>
    /// <param name="output">The result.</param>
    /// <param name="threads">How many threads take part.</param>
    /// <returns>Whether all values were finite.</returns>
    public static bool Run(in DepthwiseWeight weight, in ConvolutionShape shape, sbyte* codes, in ConvolutionInput image, in ConvolutionOutput output, int threads)
    {
        var job = _cached ?? new DepthwiseJob();
        _cached = null;
        (job._weight, job._shape, job._zeroPoint) = (weight, shape, image.ZeroPoint);
        job._image = codes;
        (job._outHeight, job._outWidth) = (shape.OutHeight, shape.OutWidth);
        job._epilogue = new SumsEpilogue(output, image.Scale, shape.Channels, job._outHeight, job._outWidth);
        var outsideBytes = weight.Panels * Columns;
        job._outside = (sbyte*)job._workspace.Reserve(outsideBytes + (long)threads * job.TapBytes);
        Unsafe.InitBlockUnaligned(job._outside, (byte)checked((sbyte)image.ZeroPoint), (uint)outsideBytes);
        job._next = 0;
        job._isFinite = true;
        KernelPool.Shared.Run(job, threads);
        _cached = job;
        return job._isFinite;
    }

    private long TapBytes => (long)Block * _weight.Taps * sizeof(sbyte*);

    /// <inheritdoc/>
    public override void Run(int worker)
    {
        var taps = (sbyte**)(_outside + _weight.Panels * Columns + worker * TapBytes);
        for (var row = Interlocked.Increment(ref _next) - 1; row < _outHeight; row = Interlocked.Increment(ref _next) - 1)
            for (var column = 0; column < _outWidth; column += Block)
                ConvolveBlock(row, column, Math.Min(Block, _outWidth - column), taps);
    }

    private void ConvolveBlock(int row, int column, int count, sbyte** taps)
    {
        for (var i = 0; i < count; i++)
            FindTaps(row, column + i, taps + i * _weight.Taps);
        var sums = stackalloc int[Block * Columns];
        for (var panel = 0; panel < _weight.Panels; panel++)
        {
            var channels = Math.Min(Columns, _shape.Channels - panel * Columns);
            for (var i = 0; i < count; i++)
            {
                if (channels == Columns)
                    Sum(taps + i * _weight.Taps, panel, sums + i * Columns);
                else
                    SumLast(taps + i * _weight.Taps, panel, channels, sums + i * Columns);
                if (_zeroPoint != 0)
                    Epilogue.SubtractZeroPoint(sums + i * Columns, _weight.Sums + panel * Columns, _zeroPoint);
            }
            if (!_epilogue.Finish(sums, Columns, WindowBlocks.One(count), _weight.Scales + panel * Columns, row * _outWidth + column, panel * Columns, channels))
                _isFinite = false;
        }
    }

    /// <summary>The pixels of the image that a window covers.</summary>
    private void FindTaps(int row, int column, sbyte** taps)
    {
        var top = row * _shape.StrideY - _shape.PadTop;
        var left = column * _shape.StrideX - _shape.PadLeft;
        for (var i = 0; i < _shape.KernelHeight; i++)
        {
            var y = top + i * _shape.DilationY;
            for (var j = 0; j < _shape.KernelWidth; j++)
            {
                var x = left + j * _shape.DilationX;
                var isInside = (uint)y < (uint)_shape.Height && (uint)x < (uint)_shape.Width;
                *taps++ = isInside ? _image + ((long)y * _shape.Width + x) * _shape.Channels : _outside;
            }
        }
    }

    /// <summary>The sums of 16 channels of one window. A product of two bytes fits 16 bits, even that of −128 and −128.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Sum(sbyte** taps, int panel, int* sums)
    {
        var weights = _weight.Codes + (long)panel * _weight.Taps * Columns;
        var low = Vector256<int>.Zero;
        var high = low;
        for (var tap = 0; tap < _weight.Taps; tap++, weights += Columns)
        {
            var (left, right) = Vector128.Widen(Vector128.Load(taps[tap] + panel * Columns));
            var (first, second) = Vector256.Widen(Vector256.Create(left, right) * Vector256.Load(weights));
            low += first;
            high += second;
        }
        low.Store(sums);
        high.Store(sums + 8);
    }

    /// <summary>As <see cref="Sum"/> for the last panel, behind whose channels the image may end.</summary>
    private void SumLast(sbyte** taps, int panel, int channels, int* sums)
    {
        var weights = _weight.Codes + (long)panel * _weight.Taps * Columns;
        new Span<int>(sums, Columns).Clear();
        for (var tap = 0; tap < _weight.Taps; tap++, weights += Columns)
            for (var channel = 0; channel < channels; channel++)
                sums[channel] += (taps[tap] + panel * Columns)[channel] * weights[channel];
    }
}
