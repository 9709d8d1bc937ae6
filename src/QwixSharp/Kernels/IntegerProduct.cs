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

    /// <summary>
    /// With so many rows for each thread, computing takes longer than reading the weight from the third-level cache (or, with many,
    /// from memory), so that every thread may read all of it. Then threads share out rows and not panels: what one packs and
    /// writes no other touches.
    /// </summary>
    private const int RowsForOwnRows = 32, ManyRowsForOwnRows = 128;

    /// <summary>Weights up to this size are read from the third-level cache.</summary>
    private const long CachedWeightBytes = 2 << 20;

    /// <summary>With fewer multiplications and fewer bytes of weights, a second thread takes longer to start than it saves.</summary>
    private const long SmallestShared = 1_000_000, SmallestSharedBytes = 192 << 10;

    /// <summary>The most rows times panels of a block.</summary>
    private const int MostVectors = 128;

    /// <summary>Bytes of a block's sums. They are aligned: kernels of short tiles read and write them often.</summary>
    private const int ResultBytes = MostVectors * PackedWeight.PanelColumns * sizeof(float);

    [ThreadStatic]
    private static IntegerProduct? _cached;

    private readonly Workspace _workspace = new();
    private readonly WorkShares _packing = new();
    private readonly WorkShares _multiplying = new();
    private IntegerKernel _kernel = null!;
    private ProductPart[] _parts = new ProductPart[1];
    private int _partCount;
    private PackedWeight _weight = null!;
    private QuantizedInput _input;
    private ActivationPacker _packer;
    private RowBlocks _blocks;
    private bool _tiled;
    private int _planes;
    private bool _joined;
    private bool _ownRows;
    private byte* _memory;
    private long _packedBytes;
    private long _sumBytes;
    private byte* _scratch;
    private long _codeBytes;
    private long _scaleBytes;
    private long _scratchBytes;
    private int _panelsAtOnce;
    private int _panelGroups;
    private int _blocksPerChunk;

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
        _packer = new ActivationPacker(weight, input, kernel);
        _tiled = weight.Tiles != 1;
        _planes = input.Planes;
        var joinedRows = _planes > 1 ? kernel.MaxJoinedRows(weight, input.Rows) : 0;
        _joined = joinedRows > 0;
        _ownRows = input.Rows >= (bytes <= CachedWeightBytes ? RowsForOwnRows : ManyRowsForOwnRows) * (long)threads;
        _blocks = RowBlocks.Shared(input.Rows, _joined ? joinedRows : kernel.MaxRows(weight.Format, _tiled) / _planes, _ownRows ? threads : 1);
        Plan(threads);
        Reserve(threads);
        var units = _ownRows ? RowChunks : _panelGroups * RowChunks;
        _packing.Begin(_blocks.Count, threads, 1);
        _multiplying.Begin(units, threads, _ownRows ? 1 : Math.Clamp(units / (threads * 8), 1, 16));
        KernelPool.Shared.Run(this, threads);
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

    private void Plan(int threads)
    {
        _panelsAtOnce = _joined ? 1 : Math.Max(1, _kernel.MaxPanels(_weight.Format, _tiled, _blocks.Size(0) * _planes));
        var blockBytes = Math.Max(1, _blocks.Size(0) * _planes * _packer.RowBytes);
        _blocksPerChunk = (int)Math.Max(1, RowChunkBytes / blockBytes);
        _panelGroups = 0;
        for (var part = 0; part < _partCount; part++)
            _panelGroups += PanelGroups(_parts[part].Weight);
        if (_ownRows)
        {
            // Some chunks a thread, so that one that is held up leaves work to others; a panel serves a few blocks at least.
            var fewest = Math.Min(_blocksPerChunk, Math.Min(4, (_blocks.Count + threads - 1) / threads));
            _blocksPerChunk = Math.Clamp(_blocks.Count / (threads * 3), fewest, _blocksPerChunk);
        }
        // Few panels: cut the rows finer, so that every thread has work.
        else if (_panelGroups < threads * 4)
            _blocksPerChunk = Math.Clamp(_blocks.Count * _panelGroups / (threads * 4), 1, _blocksPerChunk);
    }

    /// <summary>Room for all rows or, where threads have rows of their own, for a chunk of each thread.</summary>
    private void Reserve(int threads)
    {
        var rows = (long)_input.Rows * _planes;
        if (_ownRows)
            rows = Math.Min(rows, (long)_blocksPerChunk * _blocks.Size(0) * _planes);
        _packedBytes = AlignedMemory.RoundUp(_packer.RowBytes * rows);
        _sumBytes = AlignedMemory.RoundUp(_weight.Tiles * rows * 4);
        _codeBytes = AlignedMemory.RoundUp(_weight.PaddedDepth * (_blocks.Count > 0 ? _blocks.Size(0) : 0) * _planes) + 64;
        _scaleBytes = _kernel.ReadsNarrowScales ? 0 : (long)_panelsAtOnce * _weight.Tiles * PackedWeight.PanelColumns * sizeof(float);
        _scratchBytes = _codeBytes + _scaleBytes + (_input.Format == FloatFormat.Float32 ? 0 : AlignedMemory.RoundUp((long)_weight.Depth * sizeof(float)));
        var packed = (_packedBytes + 2 * _sumBytes) * (_ownRows ? threads : 1);
        _memory = _workspace.Reserve(packed + threads * _scratchBytes);
        _scratch = _memory + packed;
    }

    /// <summary>Packed rows from one on.</summary>
    /// <param name="worker">Whose rows; 0 where all threads share them.</param>
    /// <param name="first">The number of the first row in x.</param>
    private PackedRows Packed(int worker, int first)
    {
        var codes = _memory + worker * (_packedBytes + 2 * _sumBytes);
        var starts = (int*)(codes + _packedBytes);
        return new PackedRows { Codes = codes, Starts = starts, Scales = (float*)((byte*)starts + _sumBytes), First = first };
    }

    /// <summary>A thread's room: for the codes of a block, for scales in float32, for a row in float32.</summary>
    private sbyte* Scratch(int worker) => (sbyte*)_scratch + worker * _scratchBytes;

    private struct PackedRows
    {
        public byte* Codes;
        public int* Starts;
        public float* Scales;
        public int First;
    }

    private int PanelGroups(PackedWeight weight) => (weight.Panels + _panelsAtOnce - 1) / _panelsAtOnce;

    /// <summary>How many rows of the kernel's result belong to a row of x.</summary>
    private int SumsPerRow => _joined ? 1 : _planes;

    private int RowChunks => (_blocks.Count + _blocksPerChunk - 1) / _blocksPerChunk;

    /// <inheritdoc/>
    public override void Run(int worker)
    {
        if (_ownRows)
        {
            MultiplyOwnRows(worker);
            return;
        }
        while (_packing.Take(worker, out var block, out _))
        {
            try
            {
                Pack(block, block + 1, Packed(0, 0), worker);
            }
            finally
            {
                // Also where it failed: others wait for it.
                _packing.Finish(1);
            }
        }
        _packing.WaitForAll();
        MultiplyPanels(worker);
    }

    /// <inheritdoc/>
    public override void NoteReads(ReadAhead ahead)
    {
        for (var part = 0; part < _partCount; part++)
            _parts[part].Weight.NoteReads(ahead);
    }

    private void MultiplyOwnRows(int worker)
    {
        var room = stackalloc byte[ResultBytes + AlignedMemory.Alignment];
        var result = (float*)AlignedMemory.RoundUp(room);
        while (_multiplying.Take(worker, out var chunk, out _))
        {
            var first = chunk * _blocksPerChunk;
            var last = Math.Min(_blocks.Count, first + _blocksPerChunk);
            var packed = Packed(worker, _blocks.Start(first));
            Pack(first, last, packed, worker);
            for (var group = 0; group < _panelGroups; group++)
                MultiplyGroup(group, first, last, packed, result, worker);
        }
    }

    private void MultiplyPanels(int worker)
    {
        var room = stackalloc byte[ResultBytes + AlignedMemory.Alignment];
        var result = (float*)AlignedMemory.RoundUp(room);
        var packed = Packed(0, 0);
        while (_multiplying.Take(worker, out var from, out var to))
            for (var unit = from; unit < to; unit++)
            {
                var (chunk, group) = Math.DivRem(unit, _panelGroups);
                var first = chunk * _blocksPerChunk;
                MultiplyGroup(group, first, Math.Min(_blocks.Count, first + _blocksPerChunk), packed, result, worker);
            }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Pack(int firstBlock, int lastBlock, in PackedRows packed, int worker)
    {
        var scratch = Scratch(worker);
        if (!_weight.IsDepthDense)
            Unsafe.InitBlockUnaligned(scratch, 0, checked((uint)_codeBytes));
        for (var block = firstBlock; block < lastBlock; block++)
        {
            var first = _blocks.Start(block);
            var place = (long)(first - packed.First) * _planes;
            _packer.Pack(first, _blocks.Size(block), packed.Codes + place * _packer.RowBytes, packed.Starts + place * _weight.Tiles, packed.Scales + place * _weight.Tiles, scratch, (float*)(scratch + _codeBytes + _scaleBytes));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void MultiplyGroup(int group, int firstBlock, int lastBlock, in PackedRows packed, float* result, int worker)
    {
        ref readonly var part = ref Part(ref group);
        var panel = group * _panelsAtOnce;
        var panels = Math.Min(_panelsAtOnce, part.Weight.Panels - panel);
        var scales = PanelScales.Of(part.Weight, panel, panels, _kernel.ReadsNarrowScales, (float*)(Scratch(worker) + _codeBytes));
        for (var block = firstBlock; block < lastBlock; block++)
            MultiplyBlock(block, packed, part, panel, panels, scales, result);
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

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void MultiplyBlock(int block, in PackedRows packed, in ProductPart part, int panel, int panels, in PanelScales weightScales, float* result)
    {
        var weight = part.Weight;
        var first = _blocks.Start(block);
        var rows = _blocks.Size(block) * SumsPerRow;
        var place = (long)(first - packed.First) * _planes;
        var scales = packed.Scales + place * weight.Tiles;
        if (weight.Tiles == 0)
            new Span<float>(result, panels * rows * PackedWeight.PanelColumns).Clear();
        else
        {
            IntegerTileArgs args;
            Unsafe.SkipInit(out args);
            args.Activations = packed.Codes + place * _packer.RowBytes;
            args.Weights = weight.Codes(panel);
            args.PanelBytes = weight.PanelBytes;
            args.Tiles = weight.Tiles;
            args.Groups = weight.PaddedTile / (weight.IsHalfByte ? 8 : 4);
            args.Start = packed.Starts + place * weight.Tiles;
            args.WeightScales = (float*)weightScales.Stored;
            args.PanelScaleBytes = weightScales.PanelBytes;
            args.ScaleFormat = weightScales.Format;
            args.ActivationScales = scales;
            args.Result = result;
            args.Clips = weight.ClipsOf(panel);
            if (SumsPerRow == 1)
                part.Output.Prefetch(first, panel * PackedWeight.PanelColumns, rows, panels);
            if (_joined)
                _kernel.RunJoined(&args, rows);
            else
                _kernel.Run(&args, weight.Format, _tiled, rows, panels);
        }
        for (var p = 0; p < panels; p++)
            Finish(first, rows, scales, part, panel + p, result + p * rows * PackedWeight.PanelColumns);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Finish(int first, int rows, float* scales, in ProductPart part, int panel, float* values)
    {
        var weight = part.Weight;
        SubtractZeroPoints(first, rows, scales, weight, panel, values);
        var column = panel * PackedWeight.PanelColumns;
        var columns = Math.Min(PackedWeight.PanelColumns, weight.Rows - column);
        if (!_tiled && _planes == 1 && !_input.ScalesInBFloat16 && columns == PackedWeight.PanelColumns && part.Output is { ColumnStride: 1, Format: FloatFormat.Float32 })
        {
            Epilogue.ScaleAndStore((int*)values, rows, weight.Scales(panel), scales, part.Output, first, column);
            return;
        }
        if (_input.ScalesInBFloat16)
            Epilogue.ScaleInBFloat16((int*)values, rows, weight.Scales(panel), scales);
        else if (!_tiled)
            Epilogue.Scale((int*)values, rows, weight.Scales(panel), scales);
        if (SumsPerRow > 1)
            Epilogue.AddPlanes(values, rows / SumsPerRow);
        Epilogue.Store(values, rows / SumsPerRow, part.Output, first, column, columns);
    }

    private void SubtractZeroPoints(int first, int rows, float* scales, PackedWeight weight, int panel, float* values)
    {
        if (!_input.HasZeroPoints)
            return;
        for (var row = 0; row < rows; row++, values += PackedWeight.PanelColumns)
        {
            var zeroPoint = _input.ZeroPoint(first + row);
            if (zeroPoint == 0)
                continue;
            if (_tiled)
                Epilogue.SubtractZeroPoint(values, weight, panel, scales + row, rows, zeroPoint);
            else
                Epilogue.SubtractZeroPoint((int*)values, weight.ColumnSums(panel), zeroPoint);
        }
    }
}
