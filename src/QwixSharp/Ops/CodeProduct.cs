using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>
/// Multiplies codes and scales the result, with tensor ops alone, on any device. Sums of integers are exact: floating
/// point adds up only as many products as it holds without rounding, and int32 adds up those sums.
/// </summary>
internal static class CodeProduct
{
    /// <summary>Computes a product of two quantized sides.</summary>
    /// <returns>[batch, M, N] in float32, or float64 where a scale is float64.</returns>
    internal static Tensor Compute(CanonicalProduct product)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var (lhs, rhs) = (product.Lhs, product.Rhs);
        long tile = Math.Max(1, Gcd(lhs.Tile, rhs.Tile));
        var sums = ExactSums.For(lhs.Quantized!, rhs.Quantized!);
        Tensor lhsValues = lhs.CodeValues(sums.Dtype), rhsValues = rhs.CodeValues(sums.Dtype);
        Tensor lhsScales = lhs.Scales(tile), rhsScales = rhs.Scales(tile).transpose(1, 2);

        Tensor? total = null;
        for (long start = 0; start == 0 || start < lhs.Depth; start += tile)
        {
            using var tileScope = NewDisposeScope();
            long length = Math.Min(tile, lhs.Depth - start), index = start / tile;
            var part = Sum(lhsValues.narrow(2, start, length), rhsValues.narrow(2, start, length), sums);
            part = sums.Scale(part, lhsScales.narrow(2, index, 1), rhsScales.narrow(1, index, 1), product.ResultDtype);
            // Tiles add up in float32, whatever the dtype of the scales.
            part = part.to(ResultTypes.Promote(part.dtype, ScalarType.Float32));
            total = total is null ? part.MoveToOuterDisposeScope() : total.add_(part, LastingNumber.Of(1));
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

            total.add_(exact, LastingNumber.Of(1));
            exact.Dispose();
        }

        return total!;
    }

    private static long Gcd(long a, long b) => b == 0 ? a : Gcd(b, a % b);
}
