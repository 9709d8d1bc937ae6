using System.Runtime.CompilerServices;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Threading;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels;

/// <summary>
/// A product of quantized activations and an integer weight: packs the rows, then hands panels of the weight to threads.
/// </summary>
internal sealed unsafe class IntegerProduct : KernelJob
{
    /// <summary>Rows are taken in chunks of about this many bytes, which stay in the second-level cache.</summary>
    private const long RowChunkBytes = 384 << 10;

    /// <summary>Below this many multiplications a second thread costs more than it gives.</summary>
    private const long SmallestShared = 200_000;

    private const int MostRows = 32;
    private const int MostPanels = 4;

    [ThreadStatic]
    private static IntegerProduct? _cached;

    private readonly Workspace _workspace = new();
    private readonly WorkShares _shares = new();
    private IntegerKernel _kernel = null!;
    private PackedWeight _weight = null!;
    private QuantizedInput _input;
    private ProductOutput _output;
    private ActivationPacker _packer;
    private RowBlocks _blocks;
    private bool _tiled;
    private int _planes;
    private byte* _rows;
    private int* _starts;
    private float* _scales;
    private byte* _scratch;
    private long _codeBytes;
    private long _scratchBytes;
    private int _panelsAtOnce;
    private int _blocksPerChunk;
    private bool _packing;

    /// <summary>Computes y = dequantize(x) · dequantize(w)ᵀ.</summary>
    /// <param name="kernel">The inner loops.</param>
    /// <param name="weight">w, of an integer format.</param>
    /// <param name="input">x.</param>
    /// <param name="output">y.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void Run(IntegerKernel kernel, PackedWeight weight, in QuantizedInput input, in ProductOutput output, int threads)
    {
        var product = _cached ?? new IntegerProduct();
        _cached = null;
        product.Multiply(kernel, weight, input, output, threads);
        _cached = product;
    }

    private void Multiply(IntegerKernel kernel, PackedWeight weight, in QuantizedInput input, in ProductOutput output, int threads)
    {
        var work = (long)input.Rows * weight.Rows * weight.Depth;
        threads = work < SmallestShared ? 1 : threads;
        _kernel = kernel;
        _weight = weight;
        _input = input;
        _output = output;
        _packer = new ActivationPacker(weight, input, kernel.Form(weight.Format), kernel.WeightBias(weight.Format));
        _tiled = weight.Tiles != 1;
        _planes = input.Planes;
        _blocks = RowBlocks.Of(input.Rows, kernel.MaxRows(weight.Format, _tiled) / _planes);
        Reserve(threads);
        RunPhase(packing: true, _blocks.Count, 1, (long)input.Rows * weight.Depth < 32 << 10 ? 1 : threads);
        Plan(threads);
        var units = PanelGroups * RowChunks;
        RunPhase(packing: false, units, Math.Clamp(units / (threads * 8), 1, 16), threads);
        _workspace.Trim();
        _weight = null!;
    }

    private void Reserve(int threads)
    {
        var rowBytes = _packer.RowBytes * _input.Rows * _planes;
        var sums = Round((long)_weight.Tiles * _input.Rows * _planes * 4);
        _codeBytes = Round(_weight.PaddedDepth * (_blocks.Count > 0 ? _blocks.Size(0) : 0) * _planes) + 64;
        _scratchBytes = _codeBytes + (_input.Format == FloatFormat.Float32 ? 0 : Round((long)_weight.Depth * sizeof(float)));
        _rows = _workspace.Reserve(Round(rowBytes) + 2 * sums + threads * _scratchBytes);
        _starts = (int*)(_rows + Round(rowBytes));
        _scales = (float*)((byte*)_starts + sums);
        _scratch = (byte*)_scales + sums;

        static long Round(long bytes) => (bytes + 63) & ~63L;
    }

    private void Plan(int threads)
    {
        _panelsAtOnce = Math.Max(1, _kernel.MaxPanels(_weight.Format, _tiled, _blocks.Size(0) * _planes));
        var blockBytes = Math.Max(1, _blocks.Size(0) * _planes * _packer.RowBytes);
        _blocksPerChunk = (int)Math.Max(1, RowChunkBytes / blockBytes);
        // Few panels: cut the rows finer, so that every thread has work.
        if (PanelGroups < threads * 4)
            _blocksPerChunk = Math.Clamp(_blocks.Count * PanelGroups / (threads * 4), 1, _blocksPerChunk);
    }

    private int PanelGroups => (_weight.Panels + _panelsAtOnce - 1) / _panelsAtOnce;

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

    private void PackBlocks(int worker)
    {
        var scratch = (sbyte*)_scratch + worker * _scratchBytes;
        if (!_weight.IsDepthDense)
            Unsafe.InitBlockUnaligned(scratch, 0, checked((uint)_codeBytes));
        while (_shares.Take(worker, out var block, out _))
        {
            var first = _blocks.Start(block);
            _packer.Pack(first, _blocks.Size(block), Rows(first), Starts(first), Scales(first), scratch, (float*)(scratch + _codeBytes));
        }
    }

    private byte* Rows(int first) => _rows + (long)first * _planes * _packer.RowBytes;

    private int* Starts(int first) => _starts + (long)first * _planes * _weight.Tiles;

    private float* Scales(int first) => _scales + (long)first * _planes * _weight.Tiles;

    private void MultiplyPanels(int worker)
    {
        var result = stackalloc float[MostPanels * MostRows * PackedWeight.PanelColumns];
        var panelGroups = PanelGroups;
        while (_shares.Take(worker, out var from, out var to))
        {
            for (var unit = from; unit < to; unit++)
            {
                var panel = unit % panelGroups * _panelsAtOnce;
                var panels = Math.Min(_panelsAtOnce, _weight.Panels - panel);
                var firstBlock = unit / panelGroups * _blocksPerChunk;
                var lastBlock = Math.Min(_blocks.Count, firstBlock + _blocksPerChunk);
                for (var block = firstBlock; block < lastBlock; block++)
                    MultiplyBlock(block, panel, panels, result);
            }
        }
    }

    private void MultiplyBlock(int block, int panel, int panels, float* result)
    {
        var first = _blocks.Start(block);
        var rows = _blocks.Size(block) * _planes;
        if (_weight.Tiles == 0)
            new Span<float>(result, panels * rows * PackedWeight.PanelColumns).Clear();
        else
        {
            IntegerTileArgs args;
            Unsafe.SkipInit(out args);
            args.Activations = Rows(first);
            args.Weights = _weight.Codes(panel);
            args.PanelBytes = _weight.PanelBytes;
            args.Tiles = _weight.Tiles;
            args.Groups = _weight.PaddedTile / (_weight.IsHalfByte ? 8 : 4);
            args.Start = Starts(first);
            args.WeightScales = _weight.Scales(panel);
            args.PanelScaleBytes = _weight.PanelScaleBytes;
            args.ActivationScales = Scales(first);
            args.Result = result;
            _kernel.Run(&args, _weight.Format, _tiled, rows, panels);
        }
        for (var p = 0; p < panels; p++)
            Finish(first, rows, panel + p, result + p * rows * PackedWeight.PanelColumns);
    }

    private void Finish(int first, int rows, int panel, float* values)
    {
        SubtractZeroPoints(first, rows, panel, values);
        var column = panel * PackedWeight.PanelColumns;
        var columns = Math.Min(PackedWeight.PanelColumns, _weight.Rows - column);
        if (!_tiled && _planes == 1 && !_input.ScalesInBFloat16 && columns == PackedWeight.PanelColumns && _output is { ColumnStride: 1, Format: FloatFormat.Float32 })
        {
            Epilogue.ScaleAndStore((int*)values, rows, _weight.Scales(panel), Scales(first), _output, first, column);
            return;
        }
        if (_input.ScalesInBFloat16)
            Epilogue.ScaleInBFloat16((int*)values, rows, _weight.Scales(panel), Scales(first));
        else if (!_tiled)
            Epilogue.Scale((int*)values, rows, _weight.Scales(panel), Scales(first));
        if (_planes > 1)
            Epilogue.AddPlanes(values, rows / _planes);
        Epilogue.Store(values, rows / _planes, _output, first, column, columns);
    }

    private void SubtractZeroPoints(int first, int rows, int panel, float* values)
    {
        if (!_input.HasZeroPoints)
            return;
        for (var row = 0; row < rows; row++, values += PackedWeight.PanelColumns)
        {
            var zeroPoint = _input.ZeroPoint(first + row);
            if (zeroPoint == 0)
                continue;
            if (_tiled)
                Epilogue.SubtractZeroPoint(values, _weight, panel, Scales(first) + row, rows, zeroPoint);
            else
                Epilogue.SubtractZeroPoint((int*)values, _weight.ColumnSums(panel), zeroPoint);
        }
    }
}
