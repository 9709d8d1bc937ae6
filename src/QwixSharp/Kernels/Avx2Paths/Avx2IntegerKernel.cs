using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Weights;
using Fused = System.Runtime.Intrinsics.X86.Fma;
using Simd = System.Runtime.Intrinsics.X86.Avx2;

namespace QwixSharp.Kernels.Avx2Paths;

/// <summary>
/// Integer products with AVX2. Byte codes are split into even and odd 16-bit words, whose products <c>pmaddwd</c> adds in
/// 32 bits: exact for all codes, unlike <c>pmaddubsw</c>, and as many instructions as the sign trick. Half bytes are small
/// enough for <c>pmaddubsw</c>: 32 values of K fit a 16-bit sum.
/// </summary>
internal sealed unsafe class Avx2IntegerKernel : BlockKernel
{
    /// <summary>Rows that share codes which are unpacked in registers; with more, it pays to unpack into memory.</summary>
    public const int MostTogether = 4;

    /// <inheritdoc/>
    public override string Name => "avx2";

    /// <inheritdoc/>
    public override bool IsSupported => Simd.IsSupported && Fused.IsSupported;

    /// <inheritdoc/>
    public override ActivationForm Form(CodeFormat format) => format == CodeFormat.Int4 ? ActivationForm.Bytes : ActivationForm.Words;

    /// <inheritdoc/>
    public override int WeightBias(CodeFormat format) => format == CodeFormat.Int4 ? 8 : 0;

    /// <inheritdoc/>
    public override bool PrefersPlanes(CodeFormat format, int rows) => format == CodeFormat.Int4 && rows <= MostTogether;

    /// <inheritdoc/>
    protected override void SumRows(byte* activations, byte* weights, CodeFormat format, int count, int rows, nint groups, int* start, int* sums)
    {
        switch (format, count)
        {
            case (CodeFormat.Int8, 4):
                Int8Sums.Four(activations, weights, rows * 4, groups, start, sums);
                break;
            case (CodeFormat.Int8, 2):
                Int8Sums.Two(activations, weights, rows * 4, groups, start, sums);
                break;
            case (CodeFormat.Int8, _):
                Int8Sums.One(activations, weights, rows * 4, groups, start, sums);
                break;
            case (_, 4):
                Int4Sums.Four(activations, weights, rows * 4, groups, start, sums);
                break;
            case (_, 2):
                Int4Sums.Two(activations, weights, rows * 4, groups, start, sums);
                break;
            default:
                Int4Sums.One(activations, weights, rows * 4, groups, start, sums);
                break;
        }
    }
}
