using QwixSharp.Kernels.Threading;

namespace QwixSharp.Kernels.Weights;

/// <summary>
/// A quantized weight [N, K] in the layout that the kernels read: panels of 16 rows of the weight (16 columns of the
/// product), groups of four values of K inside a panel.
/// </summary>
/// <remarks>
/// A panel of byte codes is <c>[K/4][16][4]</c>; of half-byte codes <c>[K/8][16][4]</c>, where byte j holds k+j in its low
/// half and k+4+j in its high half. So one group of a panel is always 64 bytes, a whole 512-bit vector. Scales are
/// <c>[panel][tile][16]</c>: those of tiles in 16 bits where that loses nothing (see <see cref="NarrowScales"/>). Every tile of K is padded to a multiple of <see cref="KGroup"/> and N to a multiple of 16.
/// The memory is owned and native; dispose the weight to free it.
/// </remarks>
internal sealed unsafe partial class PackedWeight : IDisposable
{
    /// <summary>The columns of the product in one panel.</summary>
    public const int PanelColumns = 16;

    /// <summary>Tiles of K are padded to a multiple of this.</summary>
    public const int KGroup = 8;

    /// <summary>Whole channels longer than this are split into tiles of this length, so that 32-bit sums cannot overflow.</summary>
    public const int LongestTile = 65536;

    private readonly AlignedMemory _codes;
    private readonly AlignedMemory _scales;
    private readonly AlignedMemory? _table;
    private readonly ReadBlock _scaleReads, _codeReads;
    private readonly MemoryPool? _pool;
    private readonly Lock _sumsLock = new();
    private AlignedMemory? _columnSums;
    private readonly Lock _clipsLock = new();
    private ClippedPairs? _clips;
    private bool _clipsAreFound;
    private bool _isDisposed;

    private PackedWeight(CodeFormat format, long rows, long depth, int tileSize, float[]? table, FloatFormat scaleFormat = FloatFormat.Float32, MemoryPool? pool = null)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(rows);
        ArgumentOutOfRangeException.ThrowIfNegative(depth);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(tileSize);
        if (rows > int.MaxValue || depth > int.MaxValue)
            throw new ArgumentException($"A packed weight has at most {int.MaxValue} rows and columns, not [{rows}, {depth}].");
        Format = format;
        Rows = (int)rows;
        Depth = (int)depth;
        TileSize = tileSize;
        Tiles = (int)((depth + tileSize - 1) / tileSize);
        PaddedTile = checked((tileSize + KGroup - 1) / KGroup * KGroup);
        PaddedDepth = (long)Tiles * PaddedTile;
        Panels = (Rows + PanelColumns - 1) / PanelColumns;
        PanelBytes = checked((nint)(IsHalfByte ? PaddedDepth * 8 : PaddedDepth * 16));
        ScaleFormat = scaleFormat;
        _pool = pool;
        _codes = Allocate(checked((long)PanelBytes * Panels));
        _scales = Allocate(checked((long)Panels * PanelScaleBytes));
        (_scaleReads, _codeReads) = (new ReadBlock((nint)_scales.Pointer, _scales.Bytes), new ReadBlock((nint)_codes.Pointer, _codes.Bytes));
        if (table is null)
            return;
        _table = new AlignedMemory(table.Length * sizeof(float));
        table.CopyTo(new Span<float>(_table.Pointer, table.Length));
    }

    /// <summary>How codes are stored.</summary>
    public CodeFormat Format { get; }

    /// <summary>N: the output features.</summary>
    public int Rows { get; }

    /// <summary>K: the input features, the axis that the product contracts.</summary>
    public int Depth { get; }

    /// <summary>How many values of K share a scale.</summary>
    public int TileSize { get; }

    /// <summary>How many scales a row has.</summary>
    public int Tiles { get; }

    /// <summary>Whether a whole channel was too long for one sum, so that its tiles all have the channel's one scale.</summary>
    public bool IsSplitChannel { get; private set; }

    /// <summary>The tile as stored: <see cref="TileSize"/> rounded up to a multiple of <see cref="KGroup"/>.</summary>
    public int PaddedTile { get; }

    /// <summary>K as stored: all padded tiles.</summary>
    public long PaddedDepth { get; }

    /// <summary>N in panels of 16, rounded up.</summary>
    public int Panels { get; }

    /// <summary>The distance from one panel to the next.</summary>
    public nint PanelBytes { get; }

    /// <summary>Whether two codes share a byte.</summary>
    public bool IsHalfByte => Format is CodeFormat.Int4 or CodeFormat.Codebook4;

    /// <summary>Whether codes are integers, so that integer products are possible.</summary>
    public bool IsInteger => Format is CodeFormat.Int4 or CodeFormat.Int8;

    /// <summary>Whether K needs no padding: then activations are read where they lie.</summary>
    public bool IsDepthDense => PaddedDepth == Depth;

    /// <summary>The memory that the weight holds, in bytes.</summary>
    public long Bytes => _codes.Bytes + _scales.Bytes + (_table?.Bytes ?? 0) + (_columnSums?.Bytes ?? 0) + (_clips?.Bytes ?? 0);

    /// <summary>The table of numbers of a codebook; for <see cref="CodeFormat.Int4"/> the numbers −8 … 7 of its stored codes.</summary>
    public float* Table => _table is null ? null : (float*)_table.Pointer;

    /// <summary>
    /// For fp8 tables: how far the code's exponent and mantissa bits lie below a float's (4 for e4m3, 3 for e5m2), when the
    /// number of every code in the weight is those bits times a power of two; 0 when it is not.
    /// </summary>
    public int Fp8Shift { get; private set; }

    /// <summary>The codes of one panel.</summary>
    /// <param name="panel">The panel's number.</param>
    public byte* Codes(int panel) => _codes.Pointer + panel * PanelBytes;

    /// <summary>How scales are stored; float32 where there is one for a row.</summary>
    public FloatFormat ScaleFormat { get; }

    /// <summary>The scales [tile][16] of one panel, of a weight that stores them as float32.</summary>
    /// <param name="panel">The panel's number.</param>
    public float* Scales(int panel) => (float*)StoredScales(panel);

    /// <summary>The scales [tile][16] of one panel in <see cref="ScaleFormat"/>.</summary>
    /// <param name="panel">The panel's number.</param>
    public byte* StoredScales(int panel) => _scales.Pointer + panel * PanelScaleBytes;

    /// <summary>The distance from one panel's scales to the next, as they are stored.</summary>
    public nint PanelScaleBytes => (nint)Tiles * PanelColumns * Weights.NarrowScales.ElementSize(ScaleFormat);

    /// <summary>
    /// The sums of the codes over each tile, [tile][16] of one panel, for activations with a zero point. Made on first use.
    /// </summary>
    /// <param name="panel">The panel's number.</param>
    public int* ColumnSums(int panel)
    {
        if (Volatile.Read(ref _columnSums) is null)
            MakeColumnSums();
        return (int*)_columnSums!.Pointer + (long)panel * Tiles * PanelColumns;
    }

    /// <summary>Whether it lives for a step of training, too short to find <see cref="Clips"/> for.</summary>
    public bool IsShortLived => _pool is not null;

    /// <summary>What is taken off byte codes for kernels that want them clipped; null where it is too much. Found on first use.</summary>
    public ClippedPairs? Clips
    {
        get
        {
            if (!Volatile.Read(ref _clipsAreFound))
                FindClips();
            return _clips;
        }
    }

    /// <summary>The <see cref="Clips"/> of a panel; null unless they have been found.</summary>
    /// <param name="panel">The panel's number.</param>
    public uint** ClipsOf(int panel) => _clips is null ? null : _clips.Of(panel);

    /// <summary>The code of one element as it was given.</summary>
    /// <param name="row">The row n.</param>
    /// <param name="k">The column k.</param>
    public int Code(int row, int k)
    {
        var stored = StoredCode(row, (long)(k / TileSize) * PaddedTile + k % TileSize);
        return Format switch
        {
            CodeFormat.Int8 => (sbyte)stored,
            CodeFormat.Int4 => stored - 8,
            _ => stored,
        };
    }

    /// <summary>The number that one element stands for, before its scale.</summary>
    /// <param name="row">The row n.</param>
    /// <param name="k">The column k.</param>
    public float Value(int row, int k) => IsInteger ? Code(row, k) : Table[Code(row, k)];

    /// <summary>The scale of one element.</summary>
    /// <param name="row">The row n.</param>
    /// <param name="k">The column k.</param>
    public float Scale(int row, int k) => TileScale(row, k / TileSize);

    /// <summary>The scale of a tile of a row.</summary>
    /// <param name="row">The row n.</param>
    /// <param name="tile">The tile's number.</param>
    public float TileScale(int row, int tile) => Weights.NarrowScales.At(StoredScales(row / PanelColumns), ScaleFormat, tile * PanelColumns + row % PanelColumns);

    /// <summary>Tells a thread what a product with the weight reads.</summary>
    public void NoteReads(ReadAhead ahead)
    {
        ahead.Note(_scaleReads);
        ahead.Note(_codeReads);
    }

    /// <summary>Frees the memory, or gives it back to the pool that it came from.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _isDisposed, true))
            return;
        Free(_codes);
        Free(_scales);
        _table?.Dispose();
        _columnSums?.Dispose();
        _clips?.Dispose();
    }

    private AlignedMemory Allocate(long bytes) => _pool?.Rent(bytes) ?? new AlignedMemory(bytes);

    private void Free(AlignedMemory memory)
    {
        if (_pool is null)
            memory.Dispose();
        else
            _pool.Return(memory);
    }

    private int StoredCode(int row, long paddedK)
    {
        var panel = Codes(row / PanelColumns);
        var column = row % PanelColumns;
        if (!IsHalfByte)
            return panel[paddedK / 4 * 64 + column * 4 + paddedK % 4];
        var both = panel[paddedK / 8 * 64 + column * 4 + paddedK % 4];
        return (paddedK & 4) == 0 ? both & 15 : both >> 4;
    }

    private void FindClips()
    {
        lock (_clipsLock)
        {
            if (_clipsAreFound)
                return;
            _clips = ClippedPairs.Find(this);
            Volatile.Write(ref _clipsAreFound, true);
        }
    }

    private void MakeColumnSums()
    {
        lock (_sumsLock)
        {
            if (_columnSums is not null)
                return;
            var sums = new AlignedMemory((long)Panels * Tiles * PanelColumns * sizeof(int));
            for (var row = 0; row < Rows; row++)
                for (var tile = 0; tile < Tiles; tile++)
                {
                    var sum = 0;
                    var end = Math.Min((long)(tile + 1) * TileSize, Depth);
                    for (var k = (long)tile * TileSize; k < end; k++)
                        sum += Code(row, (int)k);
                    ((int*)sums.Pointer)[((long)(row / PanelColumns) * Tiles + tile) * PanelColumns + row % PanelColumns] = sum;
                }
            Volatile.Write(ref _columnSums, sums);
        }
    }
}
