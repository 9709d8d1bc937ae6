using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using QwixSharp.Kernels.Threading;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>One image of a <see cref="DepthwiseConvolution"/>: threads take rows of the result.</summary>
internal sealed unsafe class DepthwiseJob : KernelJob
{
    /// <summary>Channels at once.</summary>
    public const int Columns = PackedWeight.PanelColumns;

    /// <summary>Below this many multiplications a second thread costs more than it gives.</summary>
    public const long SmallestShared = 100_000;

    /// <summary>Pixels whose sums are scaled and stored together.</summary>
    private const int Block = 16;

    private int _next;

    /// <summary>The sizes.</summary>
    public required ConvolutionShape Shape { get; init; }

    /// <summary>Values that a kernel has.</summary>
    public required int Taps { get; init; }

    /// <summary>Panels of 16 channels.</summary>
    public required int Panels { get; init; }

    /// <summary>[height, width, channels] codes.</summary>
    public required sbyte* Image { get; init; }

    /// <summary>A pixel of what lies outside the image, for all panels.</summary>
    public required sbyte* Outside { get; init; }

    /// <summary>[panel][tap][16].</summary>
    public required short* Weights { get; init; }

    /// <summary>[panel][16].</summary>
    public required float* WeightScales { get; init; }

    /// <summary>[panel][16] sums of the weight's codes.</summary>
    public required int* WeightSums { get; init; }

    /// <summary>The image's scale.</summary>
    public required float Scale { get; init; }

    /// <summary>The image's zero point.</summary>
    public required int ZeroPoint { get; init; }

    /// <summary>Where pixels (rows) and channels (columns) go.</summary>
    public required ProductOutput Output { get; init; }

    /// <inheritdoc/>
    public override void Run(int worker)
    {
        var taps = new nint[Block * Taps];
        fixed (nint* pointers = taps)
            for (var row = Interlocked.Increment(ref _next) - 1; row < Shape.OutHeight; row = Interlocked.Increment(ref _next) - 1)
                for (var column = 0; column < Shape.OutWidth; column += Block)
                    ConvolveBlock(row, column, Math.Min(Block, Shape.OutWidth - column), (sbyte**)pointers);
    }

    private void ConvolveBlock(int row, int column, int count, sbyte** taps)
    {
        for (var i = 0; i < count; i++)
            FindTaps(row, column + i, taps + i * Taps);
        var sums = stackalloc int[Block * Columns];
        var scales = stackalloc float[Block];
        new Span<float>(scales, count).Fill(Scale);
        for (var panel = 0; panel < Panels; panel++)
        {
            var channels = Math.Min(Columns, Shape.Channels - panel * Columns);
            for (var i = 0; i < count; i++)
            {
                if (channels == Columns)
                    Sum(taps + i * Taps, panel, sums + i * Columns);
                else
                    SumLast(taps + i * Taps, panel, channels, sums + i * Columns);
                if (ZeroPoint != 0)
                    Epilogue.SubtractZeroPoint(sums + i * Columns, WeightSums + panel * Columns, ZeroPoint);
            }
            Epilogue.Scale(sums, count, WeightScales + panel * Columns, scales);
            Epilogue.Store((float*)sums, count, Output, row * Shape.OutWidth + column, panel * Columns, channels);
        }
    }

    /// <summary>The pixels of the image that a window covers.</summary>
    private void FindTaps(int row, int column, sbyte** taps)
    {
        var top = row * Shape.StrideY - Shape.PadTop;
        var left = column * Shape.StrideX - Shape.PadLeft;
        for (var i = 0; i < Shape.KernelHeight; i++)
        {
            var y = top + i * Shape.DilationY;
            for (var j = 0; j < Shape.KernelWidth; j++)
            {
                var x = left + j * Shape.DilationX;
                var isInside = (uint)y < (uint)Shape.Height && (uint)x < (uint)Shape.Width;
                *taps++ = isInside ? Image + ((long)y * Shape.Width + x) * Shape.Channels : Outside;
            }
        }
    }

    /// <summary>The sums of 16 channels of one window. A product of two bytes fits 16 bits, even that of −128 and −128.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Sum(sbyte** taps, int panel, int* sums)
    {
        var weights = Weights + (long)panel * Taps * Columns;
        var low = Vector256<int>.Zero;
        var high = low;
        for (var tap = 0; tap < Taps; tap++, weights += Columns)
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
        var weights = Weights + (long)panel * Taps * Columns;
        new Span<int>(sums, Columns).Clear();
        for (var tap = 0; tap < Taps; tap++, weights += Columns)
            for (var channel = 0; channel < channels; channel++)
                sums[channel] += (taps[tap] + panel * Columns)[channel] * weights[channel];
    }
}
