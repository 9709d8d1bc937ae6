using QwixSharp.Arrays;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>The general product of two arrays, and how it quantizes its operands.</summary>
public static class DotGeneralOp
{
    /// <summary>Below this tile size along the contraction, operands are dequantized before the product.</summary>
    internal const long SmallestTileOnCodes = 128;

    /// <summary>
    /// How an operand is quantized: a scale for each index of every axis that is not contracted, and tiles along the
    /// last contracting axis of the dimension numbers where a tile size is given.
    /// </summary>
    /// <param name="dimensionNumbers">The dimension numbers of the product.</param>
    /// <param name="lhsRank">The number of axes of lhs.</param>
    /// <param name="rhsRank">The number of axes of rhs.</param>
    /// <param name="forLhs">Whether lhs or rhs is to be quantized.</param>
    /// <param name="qtype">The type of the codes.</param>
    /// <param name="tiling">A tile size for the contraction, or tile sizes by axis of the operand; null for no tiles.</param>
    /// <param name="calibration">How the range is found; <c>absmax</c> unless told.</param>
    /// <returns>How to quantize the operand.</returns>
    /// <exception cref="ArgumentException">The dimension numbers do not fit the ranks.</exception>
    public static HowToQuantize HowToQuantize(
        DotDimensionNumbers dimensionNumbers,
        int lhsRank,
        int rhsRank,
        bool forLhs,
        QType qtype,
        Tiling? tiling = null,
        CalibrationMethod? calibration = null)
    {
        ArgumentNullException.ThrowIfNull(dimensionNumbers);
        int rank = forLhs ? lhsRank : rhsRank;
        var axes = dimensionNumbers.Groups(forLhs, rank);
        var tiles = Tiling.Resolve(tiling, axes.Contracting.Length == 0 ? null : axes.Contracting[^1]);
        return new HowToQuantize
        {
            QType = qtype,
            ChannelwiseAxes = [.. Enumerable.Range(0, rank).Except(axes.Contracting).Except(tiles.Keys)],
            TiledAxes = tiles,
            Calibration = calibration ?? CalibrationMethod.AbsMax(),
        };
    }

    internal static Tensor Compute(Operand lhs, Operand rhs, DotDimensionNumbers dimensionNumbers, ScalarType? preferredElementType)
    {
        ArgumentNullException.ThrowIfNull(dimensionNumbers);
        using var scope = NewDisposeScope();
        var resultDtype = ResultTypes.Of(lhs, rhs);
        var scaleDtype = Codec.IsQuantizable(resultDtype) ? resultDtype : ScalarType.Float64;
        (lhs, rhs) = (lhs.WithIntegersAsCodes(scaleDtype), rhs.WithIntegersAsCodes(scaleDtype));
        var (lhsAxes, rhsAxes) = dimensionNumbers.Resolve(lhs.Shape, rhs.Shape);
        var product = new CanonicalProduct(
            new ProductOperand(lhs, lhsAxes),
            new ProductOperand(rhs, rhsAxes),
            preferredElementType ?? resultDtype,
            ComputesOnCodes(lhs, lhsAxes, rhs, rhsAxes));
        long[] lhsShape = lhs.Shape, rhsShape = rhs.Shape;
        long[] shape = [.. lhsAxes.Batch.Concat(lhsAxes.Free).Select(a => lhsShape[a]), .. rhsAxes.Free.Select(a => rhsShape[a])];
        return ProductDispatch.Compute(product).reshape(shape).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Whether a product is computed on codes: both operands are quantized, none with a type whose codes are indices,
    /// and no contracting axis is cut into small tiles.
    /// </summary>
    private static bool ComputesOnCodes(Operand lhs, AxisGroups lhsAxes, Operand rhs, AxisGroups rhsAxes)
    {
        if (lhs.QArray is not { } left || rhs.QArray is not { } right)
            return false;
        if (!AllowsCodes(left, lhsAxes.Contracting) || !AllowsCodes(right, rhsAxes.Contracting))
            return false;
        if (left.ZeroPoint is not null && right.ZeroPoint is not null)
            throw BothAsymmetric(left, right);
        foreach (var (l, r) in lhsAxes.Contracting.Zip(rhsAxes.Contracting))
        {
            long leftTile = left.Shape[l] / Math.Max(1, left.ScaleShape[l]), rightTile = right.Shape[r] / Math.Max(1, right.ScaleShape[r]);
            if (left.ScaleShape[l] > 1 && right.ScaleShape[r] > 1 && leftTile != rightTile)
                throw new ArgumentException($"Axis {l} of lhs has tiles of {leftTile}, but axis {r} of rhs, with which it is contracted, has tiles of {rightTile}. Use one tile size on both sides, or no tiles on one.");
        }

        return true;
    }

    internal static ArgumentException BothAsymmetric(QArray lhs, QArray rhs) => new(
        $"Only one operand of a product can have a zero point, but both do: {lhs} and {rhs}. Quantize one of them symmetrically (absmax, rms, or a fixed range around 0).");

    private static bool AllowsCodes(QArray array, int[] contracting) =>
        array.QType.CanDequantizeOnOutput
        && contracting.All(axis => array.ScaleShape[axis] <= 1 || array.Shape[axis] / array.ScaleShape[axis] >= SmallestTileOnCodes);
}
