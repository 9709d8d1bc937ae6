using QwixSharp.Arrays;
using QwixSharp.Numerics;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>The general convolution of two arrays, and how it quantizes its operands.</summary>
public static class ConvGeneralOp
{
    /// <summary>
    /// How an operand is quantized: a scale for each element of the batch (lhs) or each output feature (rhs), and tiles
    /// along the input features where a tile size is given.
    /// </summary>
    /// <param name="dimensionNumbers">The layouts.</param>
    /// <param name="forLhs">Whether lhs or rhs is to be quantized.</param>
    /// <param name="qtype">The type of the codes.</param>
    /// <param name="tiling">
    /// A tile size for the input features, or tile sizes by axis of the operand; null for no tiles. The reference knows no
    /// tiles here; an operand that has them is dequantized before the convolution.
    /// </param>
    /// <param name="calibration">How the range is found; <c>absmax</c> unless told.</param>
    /// <returns>How to quantize the operand.</returns>
    /// <exception cref="ArgumentException">The layouts do not fit each other.</exception>
    public static HowToQuantize HowToQuantize(
        ConvDimensionNumbers dimensionNumbers,
        bool forLhs,
        QType qtype,
        Tiling? tiling = null,
        CalibrationMethod? calibration = null)
    {
        ArgumentNullException.ThrowIfNull(dimensionNumbers);
        var axes = dimensionNumbers.Resolve();
        var own = forLhs ? axes.Lhs : axes.Rhs;
        var tiles = Tiling.Resolve(tiling, (int)own[1]);
        return new HowToQuantize
        {
            QType = qtype,
            ChannelwiseAxes = tiles.ContainsKey((int)own[0]) ? [] : [(int)own[0]],
            TiledAxes = tiles,
            Calibration = calibration ?? CalibrationMethod.AbsMax(),
        };
    }

    internal static Tensor Compute(
        Operand lhs,
        Operand rhs,
        IReadOnlyList<long> windowStrides,
        ConvPadding padding,
        IReadOnlyList<long>? lhsDilation,
        IReadOnlyList<long>? rhsDilation,
        ConvDimensionNumbers? dimensionNumbers,
        int featureGroupCount,
        int batchGroupCount,
        ScalarType? preferredElementType)
    {
        ArgumentNullException.ThrowIfNull(windowStrides);
        ArgumentNullException.ThrowIfNull(padding);
        using var scope = NewDisposeScope();
        var operandDtype = ResultTypes.Of(lhs, rhs);
        var resultDtype = preferredElementType ?? operandDtype;
        var scaleDtype = Codec.IsQuantizable(operandDtype) ? operandDtype : ScalarType.Float64;
        (lhs, rhs) = (lhs.WithIntegersAsCodes(scaleDtype), rhs.WithIntegersAsCodes(scaleDtype));
        var layouts = dimensionNumbers ?? ConvDimensionNumbers.ChannelsFirst(Math.Max(0, lhs.Rank - 2));
        var axes = layouts.Resolve();
        if (lhs.Rank != axes.Lhs.Length || rhs.Rank != axes.Rhs.Length)
            throw new ArgumentException($"Layouts {layouts} are for {axes.Lhs.Length} axes, but lhs has {lhs.Rank} and rhs has {rhs.Rank}.");
        if (lhs.QArray is { ZeroPoint: not null } left && rhs.QArray is { ZeroPoint: not null } right)
            throw DotGeneralOp.BothAsymmetric(left, right);
        long[] lhsShape = lhs.Shape, rhsShape = rhs.Shape;
        var geometry = new ConvGeometry(
            [.. axes.Lhs.Select(a => lhsShape[a])], [.. axes.Rhs.Select(a => rhsShape[a])],
            windowStrides, padding, lhsDilation, rhsDilation, featureGroupCount, batchGroupCount);
        var result = Convolve(lhs, rhs, axes, geometry, scaleDtype, resultDtype);
        var order = new long[axes.Output.Length];
        for (int i = 0; i < order.Length; i++)
            order[axes.Output[i]] = i;
        return result.to(resultDtype).permute(order).MoveToOuterDisposeScope();
    }

    private static Tensor Convolve(Operand lhs, Operand rhs, ConvAxes axes, ConvGeometry geometry, ScalarType operandDtype, ScalarType resultDtype)
    {
        var dtype = ResultTypes.ForCompute(operandDtype, resultDtype);
        var device = lhs.QArray?.Device ?? lhs.Tensor!.device;
        // libtorch has no convolution on the meta device, but the shape is all that is wanted there.
        if (geometry.IsEmpty || device.type == DeviceType.META)
            return zeros(geometry.ResultShape, dtype, device);
        if (lhs.QArray is { } left && rhs.QArray is { } right && AllowsCodes(left, axes.Lhs[0]) && AllowsCodes(right, axes.Rhs[0]))
            return KernelConvolution.TryCompute(left, right, axes, geometry, resultDtype) ?? ConvOnCodes.Compute(left, right, axes, geometry, resultDtype);
        var x = lhs.Dequantize().to(dtype).permute(axes.Lhs);
        var w = rhs.Dequantize().to(dtype).permute(axes.Rhs);
        return geometry.Convolve(geometry.Prepare(x), w);
    }

    /// <summary>Whether an operand's codes can be convolved: its scales lie along its batch or its output features alone.</summary>
    private static bool AllowsCodes(QArray array, long scaledAxis) =>
        array.QType.CanDequantizeOnOutput
        && Enumerable.Range(0, array.Rank).All(axis => axis == scaledAxis || array.ScaleShape[axis] <= 1);
}
