using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels.Assembled;

/// <summary>Weight-only products with AVX-512 code assembled at run time, a kernel for each number of rows.</summary>
internal sealed unsafe class AssembledFloatKernel : FloatKernel
{
    private static readonly CodeCache<FloatShape> Code = new(FloatEmitter.Emit);

    /// <inheritdoc/>
    public override string Name => "avx512 (assembled)";

    /// <inheritdoc/>
    public override bool IsSupported => AssembledMachine.IsAvailable;

    /// <inheritdoc/>
    public override bool Serves(PackedWeight weight) => weight.Format != CodeFormat.Table8 || weight.Fp8Shift != 0;

    /// <inheritdoc/>
    public override int MaxRows(PackedWeight weight) => 24;

    /// <inheritdoc/>
    public override int MissingExponent(PackedWeight weight) => weight.Format switch
    {
        CodeFormat.Int8 => -24,
        CodeFormat.Table8 => Fp8Layout.Exponent(weight.Fp8Shift),
        _ => 0,
    };

    /// <inheritdoc/>
    public override int RowExponent(PackedWeight weight) => weight.Format == CodeFormat.Table8 ? 96 : 0;

    /// <inheritdoc/>
    public override void Run(FloatTileArgs* args, PackedWeight weight, int rows)
    {
        var shape = new FloatShape(weight.Format, weight.Fp8Shift, weight.Tiles > 1, rows, OperatingSystem.IsWindows());
        ((delegate* unmanaged[SuppressGCTransition]<FloatTileArgs*, void>)Code.Get(shape))(args);
    }
}
