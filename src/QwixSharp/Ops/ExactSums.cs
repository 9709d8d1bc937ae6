using QwixSharp.Arrays;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>In which dtype products of codes add up without rounding, how many at a time, and how their sums are scaled.</summary>
/// <param name="Dtype">The dtype to multiply in.</param>
/// <param name="Block">How many products to add up in it at most.</param>
/// <param name="LargestProduct">The largest magnitude of one product; 0 where codes are not all integers, and sums are plain floating-point ones.</param>
internal readonly record struct ExactSums(ScalarType Dtype, long Block, long LargestProduct)
{
    /// <summary>Shorter blocks than this are not worth float32: float64 takes them whole.</summary>
    private const long ShortestFloat32Block = 128;

    /// <summary>Whether both sides hold integers, so that sums are exact.</summary>
    internal bool OfIntegers => LargestProduct > 0;

    /// <summary>For the codes of two arrays.</summary>
    internal static ExactSums For(QArray lhs, QArray rhs)
    {
        if (lhs.QType.Kind != QTypeKind.Integer || rhs.QType.Kind != QTypeKind.Integer)
            return new(ResultTypes.Promote(ScalarType.Float32, ResultTypes.Promote(lhs.Dtype, rhs.Dtype)), long.MaxValue, 0);
        long largest = ProductOperand.LargestMagnitude(lhs) * ProductOperand.LargestMagnitude(rhs);
        long block = (1L << 24) / largest;
        return block >= ShortestFloat32Block
            ? new(ScalarType.Float32, block, largest)
            : new(ScalarType.Float64, (1L << 53) / largest, largest);
    }

    /// <summary>What adds up blocks: int32, or float64 where int32 might overflow.</summary>
    internal ScalarType AccumulatorFor(long depth) =>
        depth <= int.MaxValue / LargestProduct ? ScalarType.Int32 : ScalarType.Float64;

    /// <summary>Multiplies sums with the scales, which broadcast to them.</summary>
    /// <remarks>
    /// Each step is taken in the dtype of the scales, as the reference does, so that bfloat16 results agree with it to the
    /// last bit. float16, in which sums of integers overflow, is widened.
    /// </remarks>
    /// <returns>A new tensor in the dtype of the scales or a wider one.</returns>
    internal Tensor Scale(Tensor sums, Tensor lhsScale, Tensor rhsScale, ScalarType resultDtype)
    {
        using var scope = NewDisposeScope();
        Tensor left = lhsScale.to(Widened(lhsScale.dtype)), right = rhsScale.to(Widened(rhsScale.dtype));
        var first = OfIntegers ? left.dtype : Widened(ResultTypes.ForCompute(left.dtype, resultDtype));
        // The sums are nobody else's.
        var scaled = sums.to(first);
        return (left.dtype == first && right.dtype == first ? scaled.mul_(left).mul_(right) : scaled.mul(left).mul(right)).MoveToOuterDisposeScope();

        static ScalarType Widened(ScalarType dtype) => dtype == ScalarType.Float16 ? ScalarType.Float32 : dtype;
    }
}
