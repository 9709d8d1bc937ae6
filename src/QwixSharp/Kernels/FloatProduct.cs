using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Threading;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels;

/// <summary>A product of floating-point activations and a quantized weight of any format.</summary>
internal sealed unsafe class FloatProduct : KernelJob
{
    private const long RowChunkBytes = 384 << 10;

    /// <summary>With fewer multiplications and fewer bytes of weights, a second thread takes longer to start than it saves.</summary>
    private const long SmallestShared = 400_000, SmallestSharedBytes = 192 << 10;
    private const int MostRows = 132, ManyRows = 64;
    private const int MostPanels = 2;
    private const int PackedColumns = 64;

    [ThreadStatic]
    private static FloatProduct? _cached;

    private readonly Workspace _workspace = new();
    private readonly WorkShares _shares = new();
    private FloatKernel _kernel = null!;
    private PackedWeight _weight = null!;
    private ProductOutput _output;
    private FloatInput _x;
    private RowBlocks _blocks;
    private int _missingExponent;
    private bool _direct;
    private float* _rows;
    private int* _exponents;
    private byte* _scales;
    private long _scaleBytes;
    private int _panelsAtOnce;
    private int _panelGroups;
    private int _blocksPerChunk;
    private bool _packing;

    /// <summary>Computes y = x · dequantize(w)ᵀ.</summary>
    /// <param name="kernel">The inner loops; must serve the weight.</param>
    /// <param name="weight">w.</param>
    /// <param name="x">x.</param>
    /// <param name="output">y.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void Run(FloatKernel kernel, PackedWeight weight, in FloatInput x, in ProductOutput output, int threads)
    {
        var product = _cached ?? new FloatProduct();
        _cached = null;
        product.Multiply(kernel, weight, x, output, threads);
        _cached = product;
    }

    private void Multiply(FloatKernel kernel, PackedWeight weight, in FloatInput x, in ProductOutput output, int threads)
    {
        var rows = x.Rows;
        threads = (long)rows * weight.Rows * weight.Depth < SmallestShared && weight.Panels * (long)weight.PanelBytes < SmallestSharedBytes ? 1 : threads;
        _kernel = kernel;
        _weight = weight;
        _output = output;
        _x = x;
        _blocks = RowBlocks.Of(rows, kernel.MaxRows(weight, rows));
        _missingExponent = kernel.MissingExponent(weight, rows);
        _direct = rows == 1 && x.Format == FloatFormat.Float32 && weight.IsDepthDense && _missingExponent == 0;
        _panelsAtOnce = kernel.MaxPanels(weight, rows);
        Reserve(threads);
        if (!_direct)
            RunPhase(packing: true, _blocks.Count, 1, rows * (long)weight.Depth < 32 << 10 ? 1 : threads);
        _panelGroups = (weight.Panels + _panelsAtOnce - 1) / _panelsAtOnce;
        Plan(threads);
        var units = _panelGroups * RowChunks;
        // With many rows a unit takes long enough to be taken alone, and the last one begun should not be waited for long.
        RunPhase(packing: false, units, rows > ManyRows ? 1 : Math.Clamp(units / (threads * 8), 1, 16), threads);
        _workspace.Trim();
        _weight = null!;
    }

    /// <summary>Room for the rows as the kernel wants them, and for scales in float32 where it wants these and the weight has others.</summary>
    private void Reserve(int threads)
    {
        var exponentBytes = _direct ? 0 : AlignedMemory.RoundUp(_x.Rows * 4L);
        var rowBytes = _direct ? 0 : _x.Rows * _weight.PaddedDepth * 4;
        _scaleBytes = _kernel.ReadsNarrowScales || _weight.ScaleFormat == FloatFormat.Float32 ? 0 : (long)_panelsAtOnce * _weight.Tiles * PackedWeight.PanelColumns * sizeof(float);
        if (!_direct || _scaleBytes > 0)
            _exponents = (int*)_workspace.Reserve(exponentBytes + rowBytes + threads * _scaleBytes);
        _rows = (float*)((byte*)_exponents + exponentBytes);
        _scales = (byte*)_rows + rowBytes;
    }

    private void Plan(int threads)
    {
        var blockBytes = Math.Max(1, _blocks.Size(0) * _weight.PaddedDepth * 4);
        _blocksPerChunk = (int)Math.Max(1, RowChunkBytes / blockBytes);
        if (_panelGroups < threads * 4)
            _blocksPerChunk = Math.Clamp(_blocks.Count * _panelGroups / (threads * 4), 1, _blocksPerChunk);
    }

    private int RowChunks => (_blocks.Count + _blocksPerChunk - 1) / _blocksPerChunk;

    private void RunPhase(bool packing, int units, int chunk, int threads)
    {
        _packing = packing;
        _shares.Begin(units, threads, chunk);
        KernelPool.Shared.Run(this, threads);
    }

    /// <inheritdoc/>
    public override void Run(int worker)
    {
        if (_packing)
            PackBlocks(worker);
        else
            MultiplyPanels(worker);
    }

    /// <inheritdoc/>
    public override void NoteReads(ReadAhead ahead)
    {
        if (!_packing)
            _weight.NoteReads(ahead);
    }

    private void PackBlocks(int worker)
    {
        while (_shares.Take(worker, out var block, out _))
        {
            var first = _blocks.Start(block);
            var rows = _blocks.Size(block);
            var target = _rows + first * _weight.PaddedDepth;
            if (!_weight.IsDepthDense)
                Unsafe.InitBlockUnaligned(target, 0, checked((uint)(rows * _weight.PaddedDepth * 4)));
            for (var place = 0; place < rows;)
            {
                var count = Math.Min(_kernel.RowsTogether, rows - place);
                if (_x.Format == FloatFormat.Float32 && _missingExponent == 0)
                    Interleave(first + place, count, target + place * _weight.PaddedDepth);
                else
                    PackBlock(first + place, count, target + place * _weight.PaddedDepth);
                place += count;
            }
        }
    }

    /// <summary>Interleaves rows that lie beside each other as they are.</summary>
    private void Interleave(int first, int rows, float* target)
    {
        var values = stackalloc float*[MostRows];
        for (var tile = 0; tile < _weight.Tiles; tile++)
        {
            var tileStart = (long)tile * _weight.TileSize;
            for (var place = 0; place < rows; place++)
                values[place] = (float*)_x.Values + (first + place) * _x.RowStride + tileStart;
            var count = Math.Min(_weight.TileSize, _weight.Depth - tileStart);
            BlockInterleaver.Floats(values, rows, count, target + (long)tile * _weight.PaddedTile * rows);
        }
    }

    /// <summary>Interleaves such rows, multiplied or widened, a few columns at a time, so that what is written stays in the first-level cache.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void PackBlock(int first, int rows, float* target)
    {
        var factors = stackalloc float[MostRows];
        var widened = stackalloc float[PackedColumns];
        for (var place = 0; place < rows; place++)
            factors[place] = Factor(first + place);
        for (var tile = 0; tile < _weight.Tiles; tile++)
        {
            var tileStart = (long)tile * _weight.TileSize;
            var tileTarget = target + (long)tile * _weight.PaddedTile * rows;
            var count = Math.Min(_weight.TileSize, _weight.Depth - tileStart);
            for (var k = 0L; k < count; k += PackedColumns)
                for (var place = 0; place < rows; place++)
                {
                    var columns = Math.Min(PackedColumns, count - k);
                    var from = _x.Read(first + place, tileStart + k, columns, widened);
                    var to = tileTarget + k * rows + place;
                    var factor = factors[place];
                    for (var i = 0L; i < columns; i++, to += rows)
                        *to = from[i] * factor;
                }
        }
    }

    private float Factor(int row)
    {
        _exponents[row] = 0;
        if (_missingExponent == 0)
            return 1;
        var exponent = Exponent(AbsMax(row));
        _exponents[row] = _missingExponent - exponent;
        return MathF.ScaleB(1, exponent);
    }

    private float AbsMax(int row)
    {
        var widened = stackalloc float[PackedColumns];
        var step = _x.Format == FloatFormat.Float32 ? Math.Max(1, _weight.Depth) : PackedColumns;
        var largest = 0f;
        for (var k = 0; k < _weight.Depth; k += step)
        {
            var count = Math.Min(step, _weight.Depth - k);
            largest = MathF.Max(largest, RowQuantizer.AbsMax(_x.Read(row, k, count, widened), count));
        }
        return largest;
    }

    /// <summary>The power of two that brings a row to the kernel's magnitude; rows of zeros, infinities or NaN stay.</summary>
    private int Exponent(float absMax) => absMax == 0 || !float.IsFinite(absMax)
        ? 0
        : Math.Clamp(_kernel.RowExponent(_weight) - MathF.ILogB(absMax), -126, 127);

    [SkipLocalsInit]
    private void MultiplyPanels(int worker)
    {
        var result = stackalloc float[MostPanels * MostRows * PackedWeight.PanelColumns];
        while (_shares.Take(worker, out var from, out var to))
        {
            for (var unit = from; unit < to; unit++)
            {
                var panel = unit % _panelGroups * _panelsAtOnce;
                var panels = Math.Min(_panelsAtOnce, _weight.Panels - panel);
                var firstBlock = unit / _panelGroups * _blocksPerChunk;
                var lastBlock = Math.Min(_blocks.Count, firstBlock + _blocksPerChunk);
                var scales = PanelScales.Of(_weight, panel, panels, _kernel.ReadsNarrowScales, (float*)(_scales + worker * _scaleBytes));
                for (var block = firstBlock; block < lastBlock; block++)
                    MultiplyBlock(block, panel, panels, scales, result);
            }
        }
    }

    private void MultiplyBlock(int block, int panel, int panels, in PanelScales scales, float* result)
    {
        var first = _blocks.Start(block);
        var rows = _blocks.Size(block);
        FloatTileArgs args;
        Unsafe.SkipInit(out args);
        args.Activations = _direct ? (float*)_x.Values : _rows + first * _weight.PaddedDepth;
        args.Weights = _weight.Codes(panel);
        args.PanelBytes = _weight.PanelBytes;
        args.Tiles = _weight.Tiles;
        args.Groups = _weight.PaddedTile / (_weight.IsHalfByte ? 8 : 4);
        args.WeightScales = (float*)scales.Stored;
        args.PanelScaleBytes = scales.PanelBytes;
        args.ScaleFormat = scales.Format;
        args.Table = _weight.Table;
        args.Result = result;
        if (_weight.Tiles == 0)
            new Span<float>(result, panels * rows * PackedWeight.PanelColumns).Clear();
        else
        {
            _output.Prefetch(first, panel * PackedWeight.PanelColumns, rows, panels);
            _kernel.Run(&args, _weight, rows, panels);
        }
        for (var p = 0; p < panels; p++)
            Finish(first, rows, panel + p, result + p * rows * PackedWeight.PanelColumns);
    }

    private void Finish(int first, int rows, int panel, float* result)
    {
        var column = panel * PackedWeight.PanelColumns;
        var count = Math.Min(PackedWeight.PanelColumns, _weight.Rows - column);
        if (!_direct && _missingExponent != 0)
            for (var place = 0; place < rows; place++)
                MultiplyByPower(result + place * PackedWeight.PanelColumns, _exponents[first + place]);
        Epilogue.Store(result, rows, _output, first, column, count);
    }

    /// <summary>Two steps, since 2^exponent alone may lie outside float32.</summary>
    private static void MultiplyByPower(float* values, int exponent)
    {
        var half = Vector256.Create(MathF.ScaleB(1, exponent / 2));
        var rest = Vector256.Create(MathF.ScaleB(1, exponent - exponent / 2));
        for (var i = 0; i < PackedWeight.PanelColumns; i += 8)
            (Vector256.Load(values + i) * half * rest).Store(values + i);
    }
}
