using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Avx2Paths;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels.Assembled;

/// <summary>
/// Integer products with AVX2 code assembled at run time. Codes of a panel are unpacked into the first-level cache, a part of K at a
/// time, for all rows of a block. One row of short tiles, and up to four rows else, unpack in registers: <see cref="ShortTileRow"/>,
/// <see cref="Avx2IntegerKernel"/>.
/// </summary>
internal sealed unsafe class AssembledAvx2IntegerKernel : IntegerKernel
{
    private const int Columns = PackedWeight.PanelColumns;

    /// <summary>Six parts, three where they are words, of which more would not stay in the first-level cache. Larger blocks save some unpacking.</summary>
    private const int MostRows = 6 * SumsEmitter.MostRows, MostRowsOfWords = 3 * SumsEmitter.MostRows;

    /// <summary>Groups of 64 bytes that are unpacked together: 16 KB.</summary>
    private const int GroupsAtOnce = 128;

    /// <summary>Bytes of an unpacked group: two steps of the kernels.</summary>
    private const int UnpackedBytes = WideCodes.GroupBytes, StepsPerGroup = 2;

    private readonly Avx2IntegerKernel _fewRows = new();

    /// <inheritdoc/>
    public override string Name => "avx2 (assembled)";

    /// <inheritdoc/>
    public override bool IsSupported => AssembledMachine.IsAvailable;

    /// <inheritdoc/>
    public override ActivationForm Form(CodeFormat format) => _fewRows.Form(format);

    /// <inheritdoc/>
    public override int WeightBias(CodeFormat format) => _fewRows.WeightBias(format);

    /// <inheritdoc/>
    public override int MaxRows(CodeFormat format, bool tiled) => format == CodeFormat.Int4 ? MostRows : MostRowsOfWords;

    /// <inheritdoc/>
    public override int RowsTogether => SumsEmitter.MostRows;

    /// <inheritdoc/>
    public override int MaxPanels(CodeFormat format, bool tiled, int rows) => 1;

    /// <inheritdoc/>
    public override bool PrefersPlanes(CodeFormat format, int rows) => _fewRows.PrefersPlanes(format, rows);

    /// <inheritdoc/>
    public override void Run(IntegerTileArgs* args, CodeFormat format, bool tiled, int rows, int panels)
    {
        var areTilesShort = tiled && format == CodeFormat.Int4 && args->Groups <= ShortTileRow.MostGroups;
        if (rows <= Avx2IntegerKernel.MostTogether && !areTilesShort)
        {
            _fewRows.Run(args, format, tiled, rows, panels);
            return;
        }
        for (var panel = 0; panel < panels; panel++)
        {
            var weights = args->Weights + panel * args->PanelBytes;
            var scales = (float*)((byte*)args->WeightScales + panel * args->PanelScaleBytes);
            var result = (int*)args->Result + panel * rows * Columns;
            if (!tiled)
                SumTile(args, 0, weights, format, rows, result);
            else if (areTilesShort && rows == 1)
                ShortTileRow.Sum(args, weights, scales, (float*)result);
            else if (areTilesShort)
                SumShortTiles(args, weights, rows, scales, (float*)result);
            else
                SumTiles(args, weights, format, rows, scales, (float*)result);
        }
    }

    /// <inheritdoc/>
    public override int MaxJoinedRows(PackedWeight weight, int rows) =>
        rows == 1 && weight.Format == CodeFormat.Int4 && weight.Tiles > 1 && weight.PaddedTile <= ShortTileRow.MostGroups * 8 ? 1 : 0;

    /// <inheritdoc/>
    public override void RunJoined(IntegerTileArgs* args, int rows) => ShortTileRow.SumPlanes(args);

    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void SumTile(IntegerTileArgs* tiles, nint tile, byte* weights, CodeFormat format, int rows, int* sums)
    {
        var start = tiles->Start + tile * rows;
        var room = stackalloc byte[GroupsAtOnce * UnpackedBytes + AlignedMemory.Alignment];
        var unpacked = AlignedMemory.RoundUp(room);
        for (var row = 0; row < rows; row++)
        {
            var value = Vector256.Create(start[row]);
            value.Store(sums + row * Columns);
            value.Store(sums + row * Columns + 8);
        }
        SumsArgs args = default;
        args.Weights = unpacked;
        args.Activations = tiles->Activations;
        args.Sums = sums;
        var (first, end) = (tile * tiles->Groups, (tile + 1) * tiles->Groups);
        for (var group = first; group < end; group += GroupsAtOnce)
        {
            var count = Math.Min(GroupsAtOnce, end - group);
            Unpack(format, weights + group * 64, count, unpacked);
            args.Steps = count * StepsPerGroup;
            args.Ahead = weights + (group + count) * 64;
            args.AheadBytes = count * 64;
            SumsCode.RunBlock(format == CodeFormat.Int4 ? SumsKind.HalfBytes : SumsKind.Words, args, rows, AllSteps(tiles), group * StepsPerGroup);
        }
    }

    private static void SumTiles(IntegerTileArgs* args, byte* weights, CodeFormat format, int rows, float* scales, float* totals)
    {
        var sums = stackalloc int[MostRows * Columns];
        new Span<float>(totals, rows * Columns).Clear();
        for (nint tile = 0; tile < args->Tiles; tile++)
        {
            SumTile(args, tile, weights, format, rows, sums);
            ScaledSums.Add(sums, rows, scales + tile * Columns, args->ActivationScales + tile * rows, totals);
        }
    }

    /// <summary>Tiles so short that a kernel scales their sums while they are in its registers.</summary>
    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void SumShortTiles(IntegerTileArgs* tiles, byte* weights, int rows, float* scales, float* totals)
    {
        var room = stackalloc byte[GroupsAtOnce * UnpackedBytes + AlignedMemory.Alignment];
        var unpacked = AlignedMemory.RoundUp(room);
        new Span<float>(totals, rows * Columns).Clear();
        var steps = (int)tiles->Groups * StepsPerGroup;
        var tilesAtOnce = GroupsAtOnce / tiles->Groups;
        SumsArgs args = default;
        args.Weights = unpacked;
        args.Activations = tiles->Activations;
        args.TileBytes = rows * sizeof(int);
        args.Sums = totals;
        for (nint tile = 0; tile < tiles->Tiles; tile += tilesAtOnce)
        {
            args.Tiles = Math.Min(tilesAtOnce, tiles->Tiles - tile);
            Unpack(CodeFormat.Int4, weights + tile * tiles->Groups * 64, args.Tiles * tiles->Groups, unpacked);
            args.AheadBytes = args.Tiles * tiles->Groups * 64;
            args.Ahead = weights + tile * tiles->Groups * 64 + args.AheadBytes;
            args.Start = tiles->Start + tile * rows;
            args.WeightScales = scales + tile * Columns;
            args.ActivationScales = tiles->ActivationScales + tile * rows;
            SumsCode.RunBlock(SumsKind.HalfBytes, args, rows, AllSteps(tiles), tile * steps, steps);
        }
    }

    private static nint AllSteps(IntegerTileArgs* tiles) => tiles->Tiles * tiles->Groups * StepsPerGroup;

    private static void Unpack(CodeFormat format, byte* codes, nint groups, byte* unpacked)
    {
        if (format == CodeFormat.Int4)
            UnpackHalfBytes(codes, groups, unpacked);
        else
            WideCodes.Unpack(codes, groups, (short*)unpacked);
    }

    /// <summary>The lower halves of a group's bytes, then the upper ones.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void UnpackHalfBytes(byte* codes, nint groups, byte* unpacked)
    {
        var mask = Vector256.Create((byte)15);
        for (; groups > 0; groups--, codes += 64, unpacked += UnpackedBytes)
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
