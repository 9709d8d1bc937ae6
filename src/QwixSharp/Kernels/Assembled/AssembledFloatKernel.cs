using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels.Assembled;

/// <summary>Weight-only products with AVX-512 code assembled at run time, a kernel for each number of rows.</summary>
internal sealed unsafe class AssembledFloatKernel : FloatKernel
{
    private const int MostRows = 24;

    private static readonly CodeCache<FloatShape> Code = new(FloatEmitter.Emit);
    private static readonly CodeCache<PairShape> PairCode = new(PairEmitter.Emit);

    /// <inheritdoc/>
    public override string Name => "avx512 (assembled)";

    /// <inheritdoc/>
    public override bool IsSupported => AssembledMachine.HasAvx512;

    /// <inheritdoc/>
    public override bool ReadsNarrowScales => true;

    /// <inheritdoc/>
    public override bool Serves(PackedWeight weight) => weight.Format != CodeFormat.Table8 || weight.Fp8Shift != 0;

    /// <inheritdoc/>
    public override int MaxRows(PackedWeight weight, int rows) => TakesPairs(weight, rows) ? PairEmitter.MostRows : MostRows;

    /// <inheritdoc/>
    public override int MaxPanels(PackedWeight weight, int rows) => TakesPairs(weight, rows) || TakesStreams(weight, rows) ? 2 : 1;

    /// <inheritdoc/>
    public override int MissingExponent(PackedWeight weight, int rows) => weight.Format switch
    {
        CodeFormat.Int8 => -24,
        CodeFormat.Table8 => Fp8Layout.Exponent(weight.Fp8Shift),
        _ => 0,
    };

    /// <inheritdoc/>
    public override int RowExponent(PackedWeight weight) => weight.Format == CodeFormat.Table8 ? Fp8Layout.RowExponent : 0;

    /// <inheritdoc/>
    /// <remarks>One row has eight sums that take turns.</remarks>
    protected override int MostAtOnce(PackedWeight weight, int rows) => rows == 1 ? 4096 : 512;

    /// <inheritdoc/>
    protected override bool SumsTiles(PackedWeight weight, int rows, int panels) => rows <= FloatEmitter.MostRowsWithTotals || IsPair(weight, panels);

    /// <inheritdoc/>
    protected override void RunPart(FloatTileArgs* args, PackedWeight weight, int rows, int panels)
    {
        if (IsPair(weight, panels))
        {
            ((delegate* unmanaged[SuppressGCTransition]<FloatTileArgs*, void>)PairCode.Get(new PairShape(args->ScaleFormat, rows, OperatingSystem.IsWindows())))(args);
            return;
        }
        var shape = new FloatShape(weight.Format, weight.Fp8Shift, weight.Tiles > 1, args->ScaleFormat, rows, panels, OperatingSystem.IsWindows());
        ((delegate* unmanaged[SuppressGCTransition]<FloatTileArgs*, void>)Code.Get(shape))(args);
    }

    private static bool IsPair(PackedWeight weight, int panels) => panels == 2 && weight.IsHalfByte;

    /// <summary>Where one block of a panel does not take all rows.</summary>
    private static bool TakesPairs(PackedWeight weight, int rows) => weight.IsHalfByte && rows > MostRows;

    /// <summary>Where a product is as long in decoding as in reading: two panels are two streams, which the processor fetches further ahead than one.</summary>
    private static bool TakesStreams(PackedWeight weight, int rows) => weight.Format == CodeFormat.Table8 && rows == 1;
}
