using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Avx2Paths;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels.Assembled;

/// <summary>
/// Products of half bytes and several rows with AVX2 code assembled at run time. Codes of a panel are unpacked into the first-level cache, a part of K at a
/// time, for all rows of a block.
/// </summary>
internal sealed unsafe class HalfByteAvx2IntegerKernel : IntegerKernel
{
    private const int Columns = PackedWeight.PanelColumns;

    private const int RowsOfPart = HalfByteEmitter.MostRows;
    private const int MostRows = 6 * RowsOfPart;

    private const int GroupBytes = 64, StepsPerGroup = 2, GroupsOfSegment = HalfByteEmitter.SegmentSteps / StepsPerGroup;

    /// <summary>Bytes of an unpacked group, and groups that are unpacked together: 16 KB.</summary>
    private const int UnpackedBytes = 128, GroupsAtOnce = 128;

    private const int WordBytes = 4;

    private static readonly CodeCache<HalfByteShape> Code = new(HalfByteEmitter.Emit);

    /// <summary>Entries by steps of a tile and rows: a block is too short a work for a dictionary.</summary>
    private static readonly nint[] Entries = new nint[(HalfByteEmitter.MostTileSteps + 1) * (RowsOfPart + 1)];

    /// <inheritdoc/>
    public override string Name => "avx2 (assembled, half bytes)";

    /// <inheritdoc/>
    public override bool IsSupported => AssembledMachine.IsAvailable;

    /// <inheritdoc/>
    public override bool IsGeneral => false;

    /// <inheritdoc/>
    public override bool Serves(PackedWeight weight, int rows) =>
        weight.Format == CodeFormat.Int4 && rows > (weight.Tiles > 1 && weight.PaddedTile <= ShortTileRow.MostGroups * 8 ? 1 : Avx2IntegerKernel.MostTogether);

    /// <inheritdoc/>
    public override ActivationForm Form(CodeFormat format) => ActivationForm.Segments;

    /// <inheritdoc/>
    public override int WeightBias(CodeFormat format) => 0;

    /// <inheritdoc/>
    public override int MaxRows(CodeFormat format, bool tiled) => MostRows;

    /// <inheritdoc/>
    public override int RowsTogether => RowsOfPart;

    /// <inheritdoc/>
    public override int MaxPanels(CodeFormat format, bool tiled, int rows) => 1;

    /// <inheritdoc/>
    public override bool PrefersPlanes(CodeFormat format, int rows) => rows is > 1 and <= Avx2IntegerKernel.MostTogether;

    /// <inheritdoc/>
    public override void Run(IntegerTileArgs* args, CodeFormat format, bool tiled, int rows, int panels)
    {
        new Span<int>(args->Result, rows * Columns).Clear();
        if (!tiled)
            SumTile(args, 0, rows, (int*)args->Result);
        else if (args->Groups * StepsPerGroup <= HalfByteEmitter.MostTileSteps)
            SumTiles(args, rows);
        else
            SumLongTiles(args, rows);
    }

    private static void SumLongTiles(IntegerTileArgs* args, int rows)
    {
        var sums = stackalloc int[MostRows * Columns];
        for (nint tile = 0; tile < args->Tiles; tile++)
        {
            new Span<int>(sums, rows * Columns).Clear();
            SumTile(args, tile, rows, sums);
            ScaledSums.Add(sums, rows, args->WeightScales + tile * Columns, args->ActivationScales + tile * rows, (float*)args->Result);
        }
    }

    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void SumTile(IntegerTileArgs* tiles, nint tile, int rows, int* sums)
    {
        var room = stackalloc byte[GroupsAtOnce * UnpackedBytes + AlignedMemory.Alignment];
        var unpacked = AlignedMemory.RoundUp(room);
        Unsafe.SkipInit(out HalfByteArgs args);
        args.Weights = unpacked;
        var codes = tiles->Weights + tile * tiles->Groups * GroupBytes;
        var words = tile * WordsOf(tiles->Groups);
        for (var left = tiles->Groups; left > 0; left -= GroupsAtOnce)
        {
            var count = Math.Min(GroupsAtOnce, left);
            Unpack(codes, count, unpacked);
            codes += count * GroupBytes;
            args.Steps = count * StepsPerGroup;
            RunParts(ref args, tiles, words, rows, sums, codes, count * GroupBytes, tileSteps: 0);
            words += WordsOf(count);
        }
    }

    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void SumTiles(IntegerTileArgs* tiles, int rows)
    {
        var room = stackalloc byte[GroupsAtOnce * UnpackedBytes + AlignedMemory.Alignment];
        var unpacked = AlignedMemory.RoundUp(room);
        Unsafe.SkipInit(out HalfByteArgs args);
        args.Weights = unpacked;
        args.TileBytes = rows * sizeof(float);
        var codes = tiles->Weights;
        var tilesAtOnce = GroupsAtOnce / tiles->Groups;
        for (nint tile = 0; tile < tiles->Tiles; tile += tilesAtOnce)
        {
            var count = Math.Min(tilesAtOnce, tiles->Tiles - tile);
            var groups = count * tiles->Groups;
            Unpack(codes, groups, unpacked);
            codes += groups * GroupBytes;
            args.WeightScales = tiles->WeightScales + tile * Columns;
            args.ActivationScales = tiles->ActivationScales + tile * rows;
            args.Tiles = count;
            RunParts(ref args, tiles, tile * WordsOf(tiles->Groups), rows, (int*)tiles->Result, codes, groups * GroupBytes, (int)tiles->Groups * StepsPerGroup);
        }
    }

    /// <summary>Runs a kernel on each of the parts of a block's rows.</summary>
    /// <param name="args">What all parts share; the kernel counts its tiles down.</param>
    /// <param name="tiles">The block.</param>
    /// <param name="firstWord">The number of the first word of a row.</param>
    /// <param name="rows">The rows of the block.</param>
    /// <param name="sums">[rows][16].</param>
    /// <param name="ahead">What is unpacked next.</param>
    /// <param name="aheadBytes">How much of it.</param>
    /// <param name="tileSteps">As in <see cref="HalfByteShape"/>.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void RunParts(ref HalfByteArgs args, IntegerTileArgs* tiles, nint firstWord, int rows, int* sums, byte* ahead, nint aheadBytes, int tileSteps)
    {
        var parts = RowBlocks.Of(rows, RowsOfPart);
        var allWords = tiles->Tiles * WordsOf(tiles->Groups);
        var count = args.Tiles;
        var rowScales = args.ActivationScales;
        var share = aheadBytes / parts.Count;
        for (var part = 0; part < parts.Count; part++, ahead += share)
        {
            var (first, size) = (parts.Start(part), parts.Size(part));
            ref var entry = ref Entries[tileSteps * (RowsOfPart + 1) + size];
            if (entry == 0)
                entry = (nint)Code.Get(new HalfByteShape(size, tileSteps, OperatingSystem.IsWindows()));
            SumsCode.ReadAhead(ahead, share);
            args.Activations = tiles->Activations + (first * allWords + firstWord * size) * WordBytes;
            args.Sums = sums + first * Columns;
            args.Tiles = count;
            args.ActivationScales = rowScales + first;
            fixed (HalfByteArgs* operands = &args)
                ((delegate* unmanaged[SuppressGCTransition]<HalfByteArgs*, void>)entry)(operands);
        }
    }

    /// <summary>The words of a row for so many groups that begin with a segment.</summary>
    private static nint WordsOf(nint groups) => groups * StepsPerGroup + (groups + GroupsOfSegment - 1) / GroupsOfSegment;

    /// <summary>The lower halves of a group's bytes, then the upper ones.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Unpack(byte* codes, nint groups, byte* unpacked)
    {
        var mask = Vector256.Create((byte)15);
        for (; groups > 0; groups--, codes += GroupBytes, unpacked += UnpackedBytes)
        {
            var left = Vector256.Load(codes);
            var right = Vector256.Load(codes + 32);
            (left & mask).Store(unpacked);
            (right & mask).Store(unpacked + 32);
            (Avx2.ShiftRightLogical(left.AsUInt16(), 4).AsByte() & mask).Store(unpacked + 64);
            (Avx2.ShiftRightLogical(right.AsUInt16(), 4).AsByte() & mask).Store(unpacked + 96);
        }
    }
}
