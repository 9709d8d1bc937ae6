using System.Runtime.CompilerServices;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels.Assembled;

/// <summary>
/// Integer products with code assembled at run time: AVX-512 with <c>vpdpbusd</c>, for which .NET 10 has no intrinsic, or
/// with AVX-512 BW instructions in its place.
/// </summary>
/// <param name="useVnni">Whether to use <c>vpdpbusd</c> or the stand-in.</param>
internal sealed unsafe class AssembledIntegerKernel(bool useVnni) : IntegerKernel
{
    private static readonly CodeCache<IntegerShape> Code = new(IntegerEmitter.Emit);
    private static readonly CodeCache<PlanesShape> PlanesCode = new(PlanesEmitter.Emit);

    /// <summary>With fewer rows an addition would wait for the last.</summary>
    private const int FewestJoinedRows = 6;

    /// <summary>Entries of kernels by format of scales and codes, tiles, rows, panels and unrolling: a block is too short a work for a dictionary.</summary>
    private readonly nint[] _entries = new nint[4 << 1 << 1 << 4 << 2 << 3];

    private readonly nint[] _joined = new nint[4 * (PlanesEmitter.MostDepth / 8 + 1) << 4];

    /// <inheritdoc/>
    public override string Name => useVnni ? "avx512-vnni (assembled)" : "avx512-bw (assembled)";

    /// <inheritdoc/>
    public override bool IsSupported => useVnni ? AssembledMachine.HasVnni : AssembledMachine.HasAvx512;

    /// <inheritdoc/>
    public override bool ReadsNarrowScales => true;

    /// <inheritdoc/>
    public override ActivationForm Form(CodeFormat format) => ActivationForm.Bytes;

    /// <inheritdoc/>
    public override int WeightBias(CodeFormat format) => format == CodeFormat.Int4 ? 8 : 128;

    /// <inheritdoc/>
    public override int MaxRows(CodeFormat format, bool tiled) => tiled ? useVnni ? 12 : 10 : useVnni ? 12 : 11;

    /// <inheritdoc/>
    public override int MaxPanels(CodeFormat format, bool tiled, int rows)
    {
        var spare = useVnni ? 32 : 29;
        var halves = format == CodeFormat.Int4 ? 2 : 1;
        return rows >= 4 && 2 + 2 * halves + 2 * rows * (tiled ? 2 : 1) <= spare ? 2 : 1;
    }

    /// <inheritdoc/>
    public override bool PrefersPlanes(CodeFormat format, int rows) => useVnni;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void Run(IntegerTileArgs* args, CodeFormat format, bool tiled, int rows, int panels)
    {
        var unroll = Unroll(format, rows * panels, args->Groups);
        ref var entry = ref _entries[((((((int)args->ScaleFormat << 1 | (int)format) << 1 | (tiled ? 1 : 0)) << 4 | rows) << 2 | panels) << 3) | unroll];
        if (entry == 0)
            entry = (nint)Code.Get(new IntegerShape(format, tiled, args->ScaleFormat, rows, panels, unroll, useVnni, OperatingSystem.IsWindows()));
        ((delegate* unmanaged[SuppressGCTransition]<IntegerTileArgs*, void>)entry)(args);
    }

    /// <inheritdoc/>
    public override int MaxJoinedRows(PackedWeight weight, int rows) =>
        rows >= FewestJoinedRows && weight.Format == CodeFormat.Int4 && weight.Tiles > 1 && weight.PaddedTile <= PlanesEmitter.MostDepth
            ? PlanesEmitter.MostRows(useVnni)
            : 0;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public override void RunJoined(IntegerTileArgs* args, int rows)
    {
        ref var entry = ref _joined[((nint)args->ScaleFormat * (PlanesEmitter.MostDepth / 8 + 1) + args->Groups) << 4 | (nint)rows];
        if (entry == 0)
            entry = (nint)PlanesCode.Get(new PlanesShape((int)args->Groups, args->ScaleFormat, rows, useVnni, OperatingSystem.IsWindows()));
        ((delegate* unmanaged[SuppressGCTransition]<IntegerTileArgs*, void>)entry)(args);
    }

    private static int Unroll(CodeFormat format, int cells, nint groups)
    {
        var wanted = (format, cells) switch
        {
            (CodeFormat.Int8, 1) => 4,
            (CodeFormat.Int8, <= 8) => 2,
            (CodeFormat.Int4, <= 4) => 2,
            _ => 1,
        };
        while (groups % wanted != 0)
            wanted /= 2;
        return wanted;
    }
}
