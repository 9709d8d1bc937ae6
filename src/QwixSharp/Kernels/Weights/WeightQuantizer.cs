using System.Runtime.CompilerServices;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Threading;

namespace QwixSharp.Kernels.Weights;

/// <summary>
/// Calibrates, quantizes and packs a float32 weight in one pass over its memory, bit for bit as <see cref="RowQuantizer"/>
/// describes: for training, where weights change at every step. Allocates nothing in a steady state.
/// </summary>
internal sealed unsafe class WeightQuantizer : KernelJob
{
    private const int Columns = PackedWeight.PanelColumns;

    /// <summary>Below this many elements a second thread costs more than it gives.</summary>
    private const long SmallestShared = 32 << 10;

    [ThreadStatic]
    private static WeightQuantizer? _cached;

    private readonly Workspace _workspace = new();
    private PackedWeight _target = null!;
    private float* _values;
    private CodeRange _range;
    private sbyte* _codes;
    private byte* _scratch;
    private int _next;

    /// <summary>Fills a packed weight anew.</summary>
    /// <param name="target">The weight, of an integer format; nobody may read it meanwhile.</param>
    /// <param name="values">[rows, depth], row-major.</param>
    /// <param name="range">The codes' range, that of the format or narrower.</param>
    /// <param name="threads">How many threads take part.</param>
    /// <param name="codes">[rows, depth], takes the codes as well; or null.</param>
    public static void Run(PackedWeight target, float* values, CodeRange range, int threads, sbyte* codes = null)
    {
        var job = _cached ?? new WeightQuantizer();
        _cached = null;
        job._codes = codes;
        job.Quantize(target, values, range, (long)target.Rows * target.Depth < SmallestShared ? 1 : threads);
        _cached = job;
    }

    /// <inheritdoc/>
    public override void Run(int worker)
    {
        var scratch = _scratch + worker * ScratchBytes;
        var rows = stackalloc sbyte*[Columns];
        for (var column = 0; column < Columns; column++)
            rows[column] = (sbyte*)scratch + column * RowBytes;
        while (true)
        {
            var panel = Interlocked.Increment(ref _next) - 1;
            if (panel >= _target.Panels)
                return;
            for (var column = 0; column < Columns; column++)
            {
                var row = panel * Columns + column;
                if (row < _target.Rows)
                {
                    QuantizeRow(_values + (long)row * _target.Depth, rows[column], _target.Scales(panel) + column);
                    if (_codes != null)
                        CopyCodes(rows[column], _codes + (long)row * _target.Depth);
                }
                else
                    Clear(rows[column], _target.Scales(panel) + column);
            }
            if (_target.IsHalfByte)
                PanelWriter.HalfBytes(rows, _target.PaddedDepth, 8, _target.Codes(panel));
            else
                PanelWriter.Bytes(rows, _target.PaddedDepth, _target.Codes(panel));
        }
    }

    /// <summary>Rows do not lie a power of two apart, or all would want the same places of the cache.</summary>
    private long RowBytes => (_target.PaddedDepth + 127) / 128 * 128 + 64;

    private long ScratchBytes => RowBytes * Columns;

    private void Quantize(PackedWeight target, float* values, CodeRange range, int threads)
    {
        _target = target;
        _values = values;
        _range = range;
        _next = 0;
        _scratch = _workspace.Reserve(ScratchBytes * threads);
        if (!target.IsDepthDense)
            Unsafe.InitBlockUnaligned(_scratch, 0, checked((uint)(ScratchBytes * threads)));
        KernelPool.Shared.Run(this, threads);
        _workspace.Trim();
        _target = null!;
    }

    private void QuantizeRow(float* x, sbyte* codes, float* scales)
    {
        var whole = _target.IsSplitChannel ? RowQuantizer.Scale(RowQuantizer.AbsMax(x, _target.Depth), _range) : 0;
        for (var tile = 0; tile < _target.Tiles; tile++)
        {
            var start = (long)tile * _target.TileSize;
            var count = Math.Min(_target.TileSize, _target.Depth - start);
            var scale = _target.IsSplitChannel ? whole : RowQuantizer.Scale(RowQuantizer.AbsMax(x + start, count), _range);
            scales[tile * Columns] = scale;
            RowQuantizer.Quantize(x + start, count, scale, 0, _range, codes + (long)tile * _target.PaddedTile);
        }
    }

    private void CopyCodes(sbyte* padded, sbyte* codes)
    {
        for (var tile = 0; tile < _target.Tiles; tile++)
        {
            var start = (long)tile * _target.TileSize;
            Unsafe.CopyBlockUnaligned(codes + start, padded + (long)tile * _target.PaddedTile, (uint)Math.Min(_target.TileSize, _target.Depth - start));
        }
    }

    private void Clear(sbyte* codes, float* scales)
    {
        Unsafe.InitBlockUnaligned(codes, 0, checked((uint)_target.PaddedDepth));
        for (var tile = 0; tile < _target.Tiles; tile++)
            scales[tile * Columns] = 0;
    }
}
