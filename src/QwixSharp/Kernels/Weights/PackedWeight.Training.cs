using System.Runtime.CompilerServices;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Threading;

namespace QwixSharp.Kernels.Weights;

/// <summary>The ways to make packed weights that live for a step of training: their memory is taken from the pool.</summary>
internal sealed unsafe partial class PackedWeight
{
    /// <summary>Quantizes and packs a float32 weight in one pass: symmetric, a scale a row or a tile from the largest magnitude.</summary>
    /// <param name="values">[rows, depth], row-major.</param>
    /// <param name="rows">N.</param>
    /// <param name="depth">K.</param>
    /// <param name="tileSize">How many values of K share a scale; <paramref name="depth"/> or more for one scale a row.</param>
    /// <param name="bits">2 … 8; up to 4 bits are stored as half bytes.</param>
    /// <param name="threads">How many threads take part.</param>
    /// <param name="codes">[rows, depth], takes the codes as well; or null.</param>
    /// <exception cref="ArgumentException">A shape or tile size that cannot be packed.</exception>
    public static PackedWeight Quantize(float* values, long rows, long depth, long tileSize, int bits, int threads, sbyte* codes = null)
    {
        if (bits is < 2 or > 8)
            throw new ArgumentOutOfRangeException(nameof(bits), bits, "Weights are quantized to 2 to 8 bits.");
        var packed = bits <= 4
            ? New(CodeFormat.Int4, rows, depth, tileSize, OffsetInt4, pool: MemoryPool.Shared)
            : New(CodeFormat.Int8, rows, depth, tileSize, null, pool: MemoryPool.Shared);
        WeightQuantizer.Run(packed, values, CodeRange.OfBits(bits), threads, codes);
        return packed;
    }

    /// <summary>Packs byte codes that lie as columns, every scale 1: for products that contract over what was the batch.</summary>
    /// <param name="codes">[depth, rows], row-major.</param>
    /// <param name="rows">N.</param>
    /// <param name="depth">K.</param>
    /// <param name="tileSize">How many values of K share a scale of the other side.</param>
    /// <param name="threads">How many threads take part.</param>
    /// <exception cref="ArgumentException">A shape or tile size that cannot be packed.</exception>
    public static PackedWeight FromColumns(sbyte* codes, long rows, long depth, long tileSize, int threads)
    {
        var packed = New(CodeFormat.Int8, rows, depth, tileSize, null, pool: MemoryPool.Shared);
        packed.FillScales(1);
        KernelPool.Shared.Run(new ColumnsJob(packed, codes), threads);
        return packed;
    }

    /// <summary>The codes with rows and columns exchanged, every scale 1: for products that contract over the rows.</summary>
    /// <param name="threads">How many threads take part.</param>
    /// <exception cref="InvalidOperationException">The codes are no integers.</exception>
    public PackedWeight Transpose(int threads)
    {
        if (!IsInteger)
            throw new InvalidOperationException($"Codes of the format {Format} cannot be multiplied without their scales.");
        var packed = New(CodeFormat.Int8, Depth, Rows, Math.Max(Rows, 1), null, pool: MemoryPool.Shared);
        packed.FillScales(1);
        KernelPool.Shared.Run(new TransposeJob(packed, this), threads);
        return packed;
    }

    private void FillScales(float value) => new Span<float>((float*)_scales.Pointer, checked((int)(_scales.Bytes / sizeof(float)))).Fill(value);

    private sealed class ColumnsJob(PackedWeight target, sbyte* codes) : KernelJob
    {
        private int _next;

        public override void Run(int worker)
        {
            while (true)
            {
                var panel = Interlocked.Increment(ref _next) - 1;
                if (panel >= target.Panels)
                    return;
                var first = panel * PanelColumns;
                for (var tile = 0; tile < target.Tiles; tile++)
                {
                    var start = (long)tile * target.TileSize;
                    var count = Math.Min(target.TileSize, target.Depth - start);
                    var place = target.Codes(panel) + (long)tile * target.PaddedTile * PanelColumns;
                    PanelWriter.Columnwise(codes + start * target.Rows + first, target.Rows, Math.Min(PanelColumns, target.Rows - first), count, place);
                    var written = (count + 3) / 4 * 4;
                    Unsafe.InitBlockUnaligned(place + written * PanelColumns, 0, (uint)((target.PaddedTile - written) * PanelColumns));
                }
            }
        }
    }
}
