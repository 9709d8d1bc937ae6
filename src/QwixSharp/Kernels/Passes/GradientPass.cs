using System.Runtime.Intrinsics;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Threading;

namespace QwixSharp.Kernels.Passes;

/// <summary>
/// Quantizes an incoming gradient [M, N] for the two products of a backward pass, multiplied before by the scales of the
/// operand that it meets: symmetric, from the largest magnitude, bit for bit as <see cref="RowQuantizer"/> describes.
/// Allocates nothing in a steady state.
/// </summary>
internal sealed unsafe class GradientPass : KernelJob
{
    /// <summary>Below this many elements a second thread costs more than it gives.</summary>
    private const long SmallestShared = 32 << 10;

    [ThreadStatic]
    private static GradientPass? _cached;

    private readonly Workspace _workspace = new();
    private float* _gradient;
    private float* _factors;
    private RowShape _shape;
    private CodeRange _range;
    private sbyte* _codes;
    private float* _scales;
    private byte* _scratch;
    private long _scratchBytes;
    private bool _acrossRows;
    private long _next;

    /// <summary>A scale for every row, or tile of a row: for the product that contracts over N.</summary>
    /// <param name="gradient">[M, N].</param>
    /// <param name="factors">[N], what each column is multiplied by; or null.</param>
    /// <param name="shape">M, N and the tile.</param>
    /// <param name="range">The codes' range.</param>
    /// <param name="codes">[M, N], the result.</param>
    /// <param name="scales">[M, tiles], the result.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void Rows(float* gradient, float* factors, RowShape shape, CodeRange range, sbyte* codes, float* scales, int threads) =>
        Run(gradient, factors, shape, range, codes, scales, threads, acrossRows: false, shape.Columns * sizeof(float));

    /// <summary>A scale for every column, or tile of a column, and the codes transposed: for the product that contracts over M.</summary>
    /// <param name="gradient">[M, N].</param>
    /// <param name="factors">[M], what each row is multiplied by; or null.</param>
    /// <param name="shape">N and M (the sizes of the result) and the tile of M.</param>
    /// <param name="range">The codes' range.</param>
    /// <param name="codes">[N, M], the result.</param>
    /// <param name="scales">[N, tiles], the result.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void Columns(float* gradient, float* factors, RowShape shape, CodeRange range, sbyte* codes, float* scales, int threads) =>
        Run(gradient, factors, shape, range, codes, scales, threads, acrossRows: true, ColumnQuantizer.ScratchBytes(shape.Columns));

    private static void Run(float* gradient, float* factors, RowShape shape, CodeRange range, sbyte* codes, float* scales, int threads, bool acrossRows, long scratchBytes)
    {
        shape.Check();
        threads = shape.Rows * shape.Columns < SmallestShared ? 1 : threads;
        var job = _cached ?? new GradientPass();
        _cached = null;
        job._gradient = gradient;
        job._factors = factors;
        job._shape = shape;
        job._range = range;
        job._codes = codes;
        job._scales = scales;
        job._acrossRows = acrossRows;
        job._next = 0;
        job._scratchBytes = AlignedMemory.RoundUp(scratchBytes);
        job._scratch = job._workspace.Reserve(job._scratchBytes * threads);
        KernelPool.Shared.Run(job, threads);
        job._workspace.Trim();
        _cached = job;
    }

    /// <inheritdoc/>
    public override void Run(int worker)
    {
        var scratch = _scratch + worker * _scratchBytes;
        if (_acrossRows)
        {
            var columns = new ColumnQuantizer(_gradient, _factors, _shape, _range, _codes, _scales);
            for (var first = Next(ColumnQuantizer.Width); first < _shape.Rows; first = Next(ColumnQuantizer.Width))
                columns.Quantize(first, scratch);
            return;
        }
        for (var row = Next(1); row < _shape.Rows; row = Next(1))
            QuantizeRow(row, (float*)scratch);
    }

    private long Next(long count) => Interlocked.Add(ref _next, count) - count;

    private void QuantizeRow(long row, float* scratch)
    {
        var x = _gradient + row * _shape.Columns;
        if (_factors != null)
        {
            Multiply(x, _factors, _shape.Columns, scratch);
            x = scratch;
        }
        for (var tile = 0L; tile < _shape.Tiles; tile++)
        {
            var start = tile * _shape.TileSize;
            var scale = RowQuantizer.Scale(RowQuantizer.AbsMax(x + start, _shape.Length(tile)), _range);
            _scales[row * _shape.Tiles + tile] = scale;
            RowQuantizer.Quantize(x + start, _shape.Length(tile), scale, 0, _range, _codes + row * _shape.Columns + start);
        }
    }

    private static void Multiply(float* x, float* factors, long count, float* y)
    {
        var i = 0L;
        for (; i + 8 <= count; i += 8)
            (Vector256.Load(x + i) * Vector256.Load(factors + i)).Store(y + i);
        for (; i < count; i++)
            y[i] = x[i] * factors[i];
    }
}
