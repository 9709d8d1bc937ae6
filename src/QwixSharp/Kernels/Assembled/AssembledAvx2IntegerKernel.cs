using System.Runtime.CompilerServices;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Avx2Paths;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels.Assembled;

/// <summary>
/// Integer products with AVX2 code assembled at run time. Byte codes of a panel are unpacked to words in the first-level cache, a part of K at a time,
/// for all rows of a block. Up to four rows, and half bytes, unpack in registers: <see cref="ShortTileRow"/>, <see cref="Avx2IntegerKernel"/>.
/// More rows of half bytes have a kernel of their own: <see cref="HalfByteAvx2IntegerKernel"/>.
/// </summary>
internal sealed unsafe class AssembledAvx2IntegerKernel : IntegerKernel
{
    private const int Columns = PackedWeight.PanelColumns;

    /// <summary>Three parts; more would not stay in the first-level cache.</summary>
    private const int MostRows = 3 * SumsEmitter.MostRows;

    /// <summary>Groups of 64 bytes that are unpacked together: 16 KB.</summary>
    private const int GroupsAtOnce = 128;

    private const int GroupBytes = 64, StepsPerGroup = 2;

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
    public override int MaxRows(CodeFormat format, bool tiled) => format == CodeFormat.Int4 ? _fewRows.MaxRows(format, tiled) : MostRows;

    /// <inheritdoc/>
    public override int RowsTogether => SumsEmitter.MostRows;

    /// <inheritdoc/>
    public override int MaxPanels(CodeFormat format, bool tiled, int rows) => 1;

    /// <inheritdoc/>
    public override bool PrefersPlanes(CodeFormat format, int rows) => _fewRows.PrefersPlanes(format, rows);

    /// <inheritdoc/>
    public override void Run(IntegerTileArgs* args, CodeFormat format, bool tiled, int rows, int panels)
    {
        if (format == CodeFormat.Int4 && tiled && rows == 1 && args->Groups <= ShortTileRow.MostGroups)
            ShortTileRow.Sum(args, args->Weights, args->WeightScales, (float*)args->Result);
        else if (format == CodeFormat.Int4 || rows <= Avx2IntegerKernel.MostTogether)
            _fewRows.Run(args, format, tiled, rows, panels);
        else if (!tiled)
            SumTile(args, 0, rows, (int*)args->Result);
        else
            SumTiles(args, rows);
    }

    /// <inheritdoc/>
    public override int MaxJoinedRows(PackedWeight weight, int rows) =>
        rows == 1 && weight.Format == CodeFormat.Int4 && weight.Tiles > 1 && weight.PaddedTile <= ShortTileRow.MostGroups * 8 ? 1 : 0;

    /// <inheritdoc/>
    public override void RunJoined(IntegerTileArgs* args, int rows) => ShortTileRow.SumPlanes(args);

    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void SumTile(IntegerTileArgs* tiles, nint tile, int rows, int* sums)
    {
        var room = stackalloc byte[GroupsAtOnce * WideCodes.GroupBytes + AlignedMemory.Alignment];
        var unpacked = AlignedMemory.RoundUp(room);
        new Span<int>(sums, rows * Columns).Clear();
        SumsArgs args = default;
        args.Weights = unpacked;
        args.Activations = tiles->Activations;
        args.Sums = sums;
        var (first, end) = (tile * tiles->Groups, (tile + 1) * tiles->Groups);
        for (var group = first; group < end; group += GroupsAtOnce)
        {
            var count = Math.Min(GroupsAtOnce, end - group);
            WideCodes.Unpack(tiles->Weights + group * GroupBytes, count, (short*)unpacked);
            args.Steps = count * StepsPerGroup;
            args.Ahead = tiles->Weights + (group + count) * GroupBytes;
            args.AheadBytes = count * GroupBytes;
            SumsCode.RunBlock(SumsKind.Words, args, rows, tiles->Tiles * tiles->Groups * StepsPerGroup, group * StepsPerGroup);
        }
    }

    private static void SumTiles(IntegerTileArgs* args, int rows)
    {
        var sums = stackalloc int[MostRows * Columns];
        new Span<float>(args->Result, rows * Columns).Clear();
        for (nint tile = 0; tile < args->Tiles; tile++)
        {
            SumTile(args, tile, rows, sums);
            ScaledSums.Add(sums, rows, args->WeightScales + tile * Columns, args->ActivationScales + tile * rows, (float*)args->Result);
        }
    }
}
