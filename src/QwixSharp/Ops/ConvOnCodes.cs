using QwixSharp.Arrays;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>Convolves codes and scales the result. Sums of integers are exact, as in <see cref="CodeProduct"/>.</summary>
internal static class ConvOnCodes
{
    /// <summary>The convolution in canonical layout.</summary>
    /// <returns>(N, O, spatial) in the dtype of the scales or a wider one.</returns>
    internal static Tensor Compute(QArray lhs, QArray rhs, ConvAxes axes, ConvGeometry geometry, ScalarType resultDtype)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var sums = ExactSums.For(lhs, rhs);
        var result = sums.OfIntegers ? Exact() : Whole(sums.Dtype);
        return sums.Scale(result, LhsScale(), RhsScale(), resultDtype).MoveToOuterDisposeScope();

        Tensor Whole(ScalarType dtype) => geometry.Convolve(Input(dtype), Kernel(dtype));
        Tensor Input(ScalarType dtype) => geometry.Prepare(ProductOperand.CodesMinusZeroPoint(lhs, dtype).permute(axes.Lhs));
        Tensor Kernel(ScalarType dtype) => ProductOperand.CodesMinusZeroPoint(rhs, dtype).permute(axes.Rhs);

        Tensor Exact()
        {
            long features = geometry.FeaturesPerGroup, depth = features * geometry.Window;
            if (!LibtorchConvolution.AddsUpPlainly(lhs.Device) || sums.Dtype == ScalarType.Float64)
                return Whole(ScalarType.Float64).round_();
            if (depth <= sums.Block)
                return Whole(ScalarType.Float32);
            long featuresAtOnce = sums.Block / geometry.Window;
            return geometry.Groups > 1 || featuresAtOnce == 0
                ? Whole(ScalarType.Float64)
                : InParts(Input(ScalarType.Float32), Kernel(ScalarType.Float32), featuresAtOnce, sums.AccumulatorFor(depth));
        }

        Tensor InParts(Tensor x, Tensor w, long featuresAtOnce, ScalarType accumulator)
        {
            var total = zeros(geometry.ResultShape, accumulator, x.device);
            for (long start = 0; start < geometry.FeaturesPerGroup; start += featuresAtOnce)
            {
                using var partScope = NewDisposeScope();
                long count = Math.Min(featuresAtOnce, geometry.FeaturesPerGroup - start);
                total.add_(geometry.Convolve(x.narrow(1, start, count), w.narrow(1, start, count)).to(accumulator), LastingNumber.Of(1));
            }

            return total;
        }

        Tensor LhsScale()
        {
            long batch = lhs.Shape[(int)axes.Lhs[0]], groups = geometry.BatchGroups;
            if (lhs.Scale.NumberOfElements == 1)
                return lhs.Scale.reshape(Aligned(1, 1));
            var scales = GenericBroadcast.Expand(lhs.Scale.reshape(-1), [batch]).reshape(groups, batch / groups).t();
            // Output features come from the batch groups in turn.
            return groups == 1
                ? scales.reshape(Aligned(batch, 1))
                : scales.repeat_interleave(geometry.OutputFeatures / groups, 1).reshape(Aligned(batch / groups, geometry.OutputFeatures));
        }

        Tensor RhsScale() => rhs.Scale.NumberOfElements == 1
            ? rhs.Scale.reshape(Aligned(1, 1))
            : GenericBroadcast.Expand(rhs.Scale.reshape(-1), [geometry.OutputFeatures]).reshape(Aligned(1, geometry.OutputFeatures));

        long[] Aligned(long batch, long features) => [batch, features, .. Enumerable.Repeat(1L, axes.SpatialRank)];
    }
}
