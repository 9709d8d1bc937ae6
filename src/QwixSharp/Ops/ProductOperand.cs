using QwixSharp.Arrays;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>
/// One side of a product in canonical form [batch, rows, depth], the contraction last. It is a view of an operand: what
/// is asked for is computed then and belongs to the caller.
/// </summary>
internal sealed class ProductOperand
{
    private readonly Operand _source;
    private readonly long[] _shape;

    internal ProductOperand(Operand source, AxisGroups axes)
    {
        _source = source;
        _shape = source.Shape;
        Axes = axes;
        Batch = Product(axes.Batch);
        Rows = Product(axes.Free);
        Depth = Product(axes.Contracting);
        Tile = source.QArray is { } array ? FindTile(array) : Depth;
    }

    /// <summary>The axes of the source in groups.</summary>
    internal AxisGroups Axes { get; }

    /// <summary>The length of the batch.</summary>
    internal long Batch { get; }

    /// <summary>The number of rows, that is of free elements.</summary>
    internal long Rows { get; }

    /// <summary>The length of the contraction.</summary>
    internal long Depth { get; }

    /// <summary>How many consecutive values of the contraction share a scale; <see cref="Depth"/> where all do.</summary>
    internal long Tile { get; }

    /// <summary>
    /// The array behind a quantized side, null for a floating-point one. Its identity can serve as the key of packed
    /// forms that are made once; where its axes are in order, its codes already lie as rows, the contraction last.
    /// </summary>
    internal QArray? Quantized => _source.QArray;

    /// <summary>The dtype when dequantized.</summary>
    internal ScalarType Dtype => _source.Dtype;

    /// <summary>The device.</summary>
    internal Device Device => _source.QArray?.Device ?? _source.Tensor!.device;

    /// <summary>The numbers, dequantized where need be.</summary>
    /// <param name="dtype">A floating-point dtype.</param>
    /// <returns>[batch, rows, depth]; it may share memory with the source.</returns>
    internal Tensor Values(ScalarType dtype)
    {
        using var scope = NewDisposeScope();
        return Canonical(_source.Dequantize().to(dtype)).MoveToOuterDisposeScope();
    }

    /// <summary>Whether a gradient must flow to this side.</summary>
    internal bool NeedsGradient => _source.Tensor is { requires_grad: true } && is_grad_enabled();

    /// <summary>The codes. Quantized sides only.</summary>
    /// <returns>[batch, rows, depth] of the codes' own dtype.</returns>
    internal Tensor Codes()
    {
        using var scope = NewDisposeScope();
        return Canonical(Quantized!.GetQValue()).MoveToOuterDisposeScope();
    }

    /// <summary>The numbers that codes stand for before scaling: code − zero point. Quantized sides only.</summary>
    /// <param name="dtype">A floating-point dtype that holds them exactly.</param>
    /// <returns>[batch, rows, depth].</returns>
    internal Tensor CodeValues(ScalarType dtype)
    {
        using var scope = NewDisposeScope();
        return Canonical(CodesMinusZeroPoint(Quantized!, dtype)).MoveToOuterDisposeScope();
    }

    /// <summary>The scales. Quantized sides only.</summary>
    /// <param name="tile">A divisor of <see cref="Tile"/>.</param>
    /// <returns>[batch or 1, rows or 1, depth ÷ tile].</returns>
    internal Tensor Scales(long tile) => Grid(Quantized!.Scale, tile);

    /// <summary>The zero points as <see cref="Scales"/> has the scales, or null. Quantized sides only.</summary>
    /// <param name="tile">A divisor of the zero points' own tile.</param>
    internal Tensor? ZeroPoints(long tile) => Quantized!.ZeroPoint is { } zeroPoint ? Grid(zeroPoint, tile) : null;

    /// <summary>Code − zero point in an array's own layout.</summary>
    internal static Tensor CodesMinusZeroPoint(QArray array, ScalarType dtype)
    {
        using var scope = NewDisposeScope();
        var values = Codec.Decode(array.GetQValue(), array.QType, dtype);
        if (array.ZeroPoint is { } zeroPoint)
            values = GenericBroadcast.Apply((a, b) => a - b, values, zeroPoint.to(dtype));
        return values.MoveToOuterDisposeScope();
    }

    /// <summary>The largest magnitude of code − zero point of an integer type.</summary>
    internal static long LargestMagnitude(QArray array) =>
        array.ZeroPoint is null ? -(long)array.QType.Min : (long)array.QType.Max - array.QType.Min;

    private Tensor Canonical(Tensor values)
    {
        var ordered = Axes.InOrder ? values : values.permute(Axes.Order);
        return ordered.reshape(Batch, Rows, Depth);
    }

    private long FindTile(QArray array)
    {
        var scaleShape = array.ScaleShape;
        long inner = 1;
        foreach (int axis in Axes.Contracting.Reverse())
        {
            if (scaleShape[axis] > 1)
                return _shape[axis] / scaleShape[axis] * inner;
            inner *= _shape[axis];
        }

        return Depth;
    }

    /// <summary>A scale or zero point in canonical form. Outer axes are written out where inner ones have tiles, so that tiles are consecutive.</summary>
    private Tensor Grid(Tensor part, long tile)
    {
        using var scope = NewDisposeScope();
        var shape = part.shape;
        var target = (long[])shape.Clone();
        foreach (var group in new[] { Axes.Batch, Axes.Free })
        {
            if (group.Any(axis => shape[axis] > 1))
                WriteOut(group);
        }

        int lastTiled = Array.FindLastIndex(Axes.Contracting, axis => shape[axis] > 1);
        if (lastTiled > 0)
            WriteOut(Axes.Contracting[..lastTiled]);
        var grid = GenericBroadcast.Expand(part, target).permute(Axes.Order);
        grid = grid.reshape(Size(Axes.Batch), Size(Axes.Free), Size(Axes.Contracting));
        long tiles = Depth == 0 ? 1 : Depth / tile;
        if (grid.shape[2] != tiles)
            grid = GenericBroadcast.Expand(grid, [grid.shape[0], grid.shape[1], tiles]);
        return grid.MoveToOuterDisposeScope();

        void WriteOut(int[] axes)
        {
            foreach (int axis in axes)
                target[axis] = _shape[axis];
        }

        long Size(int[] axes) => axes.Aggregate(1L, (size, axis) => size * target[axis]);
    }

    private long Product(int[] axes) => axes.Aggregate(1L, (size, axis) => size * _shape[axis]);
}
