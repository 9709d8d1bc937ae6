using QwixSharp.Arrays;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>
/// Multiplies codes and scales the result, with tensor ops alone, on any device. Sums of integers are exact: floating
/// point adds up only as many products as it holds without rounding, and int32 adds up those sums.
/// </summary>
internal static class CodeProduct
{
    /// <summary>Shorter blocks than this are not worth float32: float64 takes them whole.</summary>
    private const long ShortestFloat32Block = 128;

    /// <summary>Computes a product of two quantized sides.</summary>
    /// <returns>[batch, M, N] in float32, or float64 where a scale is float64.</returns>
    internal static Tensor Compute(CanonicalProduct product)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var (lhs, rhs) = (product.Lhs, product.Rhs);
        long tile = Math.Max(1, Gcd(lhs.Tile, rhs.Tile));
        var scaleDtype = lhs.Dtype == ScalarType.Float64 || rhs.Dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
        var sums = ExactSums.For(lhs.Quantized!, rhs.Quantized!, scaleDtype);
        Tensor lhsValues = lhs.CodeValues(sums.Dtype), rhsValues = rhs.CodeValues(sums.Dtype);
        Tensor lhsScales = lhs.Scales(tile).to(scaleDtype), rhsScales = rhs.Scales(tile).to(scaleDtype).transpose(1, 2);

        Tensor? total = null;
        for (long start = 0; start == 0 || start < lhs.Depth; start += tile)
        {
            using var tileScope = NewDisposeScope();
            long length = Math.Min(tile, lhs.Depth - start), index = start / tile;
            var part = Sum(lhsValues.narrow(2, start, length), rhsValues.narrow(2, start, length), sums).to(scaleDtype);
            part.mul_(lhsScales.narrow(2, index, 1)).mul_(rhsScales.narrow(1, index, 1));
            total = total is null ? part.MoveToOuterDisposeScope() : total.add_(part);
        }

        return total!.MoveToOuterDisposeScope();
    }

    private static Tensor Sum(Tensor lhs, Tensor rhs, ExactSums sums)
    {
        long depth = lhs.shape[2];
        if (depth <= sums.Block)
            return ProductDispatch.Multiply(lhs, rhs);
        Tensor? total = null;
        for (long start = 0; start < depth; start += sums.Block)
        {
            long length = Math.Min(sums.Block, depth - start);
            using var block = ProductDispatch.Multiply(lhs.narrow(2, start, length), rhs.narrow(2, start, length));
            var exact = block.to(sums.AccumulatorFor(depth), copy: true);
            if (total is null)
            {
                total = exact;
                continue;
            }

            total.add_(exact);
            exact.Dispose();
        }

        return total!;
    }

    private static long Gcd(long a, long b) => b == 0 ? a : Gcd(b, a % b);

    /// <summary>In which dtype products of codes add up without rounding, and how many at a time.</summary>
    /// <param name="Dtype">The dtype to multiply in.</param>
    /// <param name="Block">How many products to add up in it at most.</param>
    /// <param name="LargestProduct">The largest magnitude of one product; 0 where exactness is not asked for.</param>
    internal readonly record struct ExactSums(ScalarType Dtype, long Block, long LargestProduct)
    {
        /// <summary>For two arrays. Unless both hold integers, sums are plain floating-point ones.</summary>
        internal static ExactSums For(QArray lhs, QArray rhs, ScalarType scaleDtype)
        {
            if (lhs.QType.Kind != QTypeKind.Integer || rhs.QType.Kind != QTypeKind.Integer)
                return new(scaleDtype, long.MaxValue, 0);
            long largest = ProductOperand.LargestMagnitude(lhs) * ProductOperand.LargestMagnitude(rhs);
            long block = (1L << 24) / largest;
            return block >= ShortestFloat32Block
                ? new(ScalarType.Float32, block, largest)
                : new(ScalarType.Float64, (1L << 53) / largest, largest);
        }

        /// <summary>What adds up blocks: int32, or float64 where int32 might overflow.</summary>
        internal ScalarType AccumulatorFor(long depth) =>
            depth <= int.MaxValue / LargestProduct ? ScalarType.Int32 : ScalarType.Float64;
    }
}
