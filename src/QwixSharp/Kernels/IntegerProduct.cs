using System.Runtime.CompilerServices;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Threading;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels;

/// <summary>
/// Products of the same quantized activations and one or more integer weights: packs the rows, then hands panels of all
/// weights to threads.
/// </summary>
internal sealed unsafe class IntegerProduct : KernelJob
{
    /// <summary>Rows are taken in chunks of about this many bytes, which stay in the second-level cache.</summary>
    private const long RowChunkBytes = 384 << 10;

    /// <summary>With fewer multiplications and fewer bytes of weights, a second thread takes longer to start than it saves.</summary>
    private const long SmallestShared = 1_000_000, SmallestSharedBytes = 192 << 10;

    private const int MostRows = 32;
    private const int MostPanels = 4;

    [ThreadStatic]
    private static IntegerProduct? _cached;

    private readonly Workspace _workspace = new();
    private readonly WorkShares _shares = new();
    private IntegerKernel _kernel = null!;
    private ProductPart[] _parts = new ProductPart[1];
    private int _partCount;
    private PackedWeight _weight = null!;
    private QuantizedInput _input;
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
    private int _panelGroups;
    private int _blocksPerChunk;
    private bool _packing;

    /// <summary>Computes y = dequantize(x) · dequantize(w)ᵀ of every part.</summary>
    /// <param name="kernel">The inner loops.</param>
    /// <param name="parts">Weights of an integer format that can be grouped, and where their products go; one at least.</param>
    /// <param name="input">x.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void Run(IntegerKernel kernel, ReadOnlySpan<ProductPart> parts, in QuantizedInput input, int threads)
    {
        var product = _cached ?? new IntegerProduct();
        _cached = null;
        product.Multiply(kernel, parts, input, threads);
        _cached = product;
    }

    private void Multiply(IntegerKernel kernel, ReadOnlySpan<ProductPart> parts, in QuantizedInput input, int threads)
    {
        var weight = Take(parts, out var rows, out var bytes);
        threads = input.Rows * rows * weight.Depth < SmallestShared && bytes < SmallestSharedBytes ? 1 : threads;
        _kernel = kernel;
        _weight = weight;
        _input = input;
        _packer = new ActivationPacker(weight, input, kernel.Form(weight.Format), kernel.WeightBias(weight.Format));
        _tiled = weight.Tiles != 1;
        _planes = input.Planes;
        _blocks = RowBlocks.Of(input.Rows, kernel.MaxRows(weight.Format, _tiled) / _planes);
        Reserve(threads);
        RunPhase(packing: true, _blocks.Count, 1, (long)input.Rows * weight.Depth < 32 << 10 ? 1 : threads);
        Plan(threads);
        var units = _panelGroups * RowChunks;
        RunPhase(packing: false, units, Math.Clamp(units / (threads * 8), 1, 16), threads);
        _workspace.Trim();
        _weight = null!;
        Array.Clear(_parts, 0, _partCount);
    }

    private PackedWeight Take(ReadOnlySpan<ProductPart> parts, out long rows, out long bytes)
    {
        if (_parts.Length < parts.Length)
            _parts = new ProductPart[parts.Length];
        parts.CopyTo(_parts);
        _partCount = parts.Length;
        rows = bytes = 0;
        foreach (ref readonly var part in parts)
        {
            rows += part.Weight.Rows;
            bytes += part.Weight.Panels * (long)part.Weight.PanelBytes;
        }
        return parts[0].Weight;
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
        _panelGroups = 0;
        for (var part = 0; part < _partCount; part++)
            _panelGroups += PanelGroups(_parts[part].Weight);
        // Few panels: cut the rows finer, so that every thread has work.
        if (_panelGroups < threads * 4)
            _blocksPerChunk = Math.Clamp(_blocks.Count * _panelGroups / (threads * 4), 1, _blocksPerChunk);
    }

    private int PanelGroups(PackedWeight weight) => (weight.Panels + _panelsAtOnce - 1) / _panelsAtOnce;

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
        while (_shares.Take(worker, out var from, out var to))
        {
            for (var unit = from; unit < to; unit++)
            {
                var (chunk, group) = Math.DivRem(unit, _panelGroups);
                ref readonly var part = ref Part(ref group);
                var panel = group * _panelsAtOnce;
                var panels = Math.Min(_panelsAtOnce, part.Weight.Panels - panel);
                var firstBlock = chunk * _blocksPerChunk;
                var lastBlock = Math.Min(_blocks.Count, firstBlock + _blocksPerChunk);
                for (var block = firstBlock; block < lastBlock; block++)
                    MultiplyBlock(block, part, panel, panels, result);
            }
        }
    }

    /// <summary>The part that a group of panels belongs to.</summary>
    /// <param name="group">The number of the group among all parts' groups; becomes that within the part.</param>
    private ref readonly ProductPart Part(ref int group)
    {
        var part = 0;
        for (var count = PanelGroups(_parts[0].Weight); group >= count; count = PanelGroups(_parts[++part].Weight))
            group -= count;
        return ref _parts[part];
    }

    private void MultiplyBlock(int block, in ProductPart part, int panel, int panels, float* result)
    {
        var weight = part.Weight;
        var first = _blocks.Start(block);
        var rows = _blocks.Size(block) * _planes;
        if (weight.Tiles == 0)
            new Span<float>(result, panels * rows * PackedWeight.PanelColumns).Clear();
        else
        {
            IntegerTileArgs args;
            Unsafe.SkipInit(out args);
            args.Activations = Rows(first);
            args.Weights = weight.Codes(panel);
            args.PanelBytes = weight.PanelBytes;
            args.Tiles = weight.Tiles;
            args.Groups = weight.PaddedTile / (weight.IsHalfByte ? 8 : 4);
            args.Start = Starts(first);
            args.WeightScales = weight.Scales(panel);
            args.PanelScaleBytes = weight.PanelScaleBytes;
            args.ActivationScales = Scales(first);
            args.Result = result;
            _kernel.Run(&args, weight.Format, _tiled, rows, panels);
        }
        for (var p = 0; p < panels; p++)
            Finish(first, rows, part, panel + p, result + p * rows * PackedWeight.PanelColumns);
    }

    private void Finish(int first, int rows, in ProductPart part, int panel, float* values)
    {
        var weight = part.Weight;
        SubtractZeroPoints(first, rows, weight, panel, values);
        var column = panel * PackedWeight.PanelColumns;
        var columns = Math.Min(PackedWeight.PanelColumns, weight.Rows - column);
        if (!_tiled && _planes == 1 && !_input.ScalesInBFloat16 && columns == PackedWeight.PanelColumns && part.Output is { ColumnStride: 1, Format: FloatFormat.Float32 })
        {
            Epilogue.ScaleAndStore((int*)values, rows, weight.Scales(panel), Scales(first), part.Output, first, column);
            return;
        }
        if (_input.ScalesInBFloat16)
            Epilogue.ScaleInBFloat16((int*)values, rows, weight.Scales(panel), Scales(first));
        else if (!_tiled)
            Epilogue.Scale((int*)values, rows, weight.Scales(panel), Scales(first));
        if (_planes > 1)
            Epilogue.AddPlanes(values, rows / _planes);
        Epilogue.Store(values, rows / _planes, part.Output, first, column, columns);
    }

    private void SubtractZeroPoints(int first, int rows, PackedWeight weight, int panel, float* values)
    {
        if (!_input.HasZeroPoints)
            return;
        for (var row = 0; row < rows; row++, values += PackedWeight.PanelColumns)
        {
            var zeroPoint = _input.ZeroPoint(first + row);
            if (zeroPoint == 0)
                continue;
            if (_tiled)
                Epilogue.SubtractZeroPoint(values, weight, panel, Scales(first) + row, rows, zeroPoint);
            else
                Epilogue.SubtractZeroPoint((int*)values, weight.ColumnSums(panel), zeroPoint);
        }
    }
}
