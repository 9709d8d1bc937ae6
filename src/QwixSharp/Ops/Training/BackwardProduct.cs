using static TorchSharp.torch;

namespace QwixSharp.Ops.Training;

/// <summary>
/// The product that gives the gradient of one operand: that of the result, [batch…, free axes of lhs…, free axes of rhs…],
/// times the other operand.
/// </summary>
/// <param name="Numbers">The dimension numbers; the gradient is on the left.</param>
/// <param name="Order">The order in which the axes of the product are those of the operand.</param>
internal sealed record BackwardProduct(DotDimensionNumbers Numbers, long[] Order)
{
    /// <summary>The product for one operand of a product.</summary>
    /// <param name="lhs">The axes of the left operand.</param>
    /// <param name="rhs">The axes of the right operand.</param>
    /// <param name="forLhs">Whose gradient.</param>
    internal static BackwardProduct For(AxisGroups lhs, AxisGroups rhs, bool forLhs)
    {
        var (own, other) = forLhs ? (lhs, rhs) : (rhs, lhs);
        int batch = lhs.Batch.Length, afterLhs = batch + lhs.Free.Length;
        int[] contracted = forLhs ? [.. Enumerable.Range(afterLhs, rhs.Free.Length)] : [.. Enumerable.Range(batch, lhs.Free.Length)];
        // What the forward product contracted comes out last, in the order in which the other operand has it.
        var pairs = own.Contracting.Zip(other.Contracting).OrderBy(p => p.Second).Select(p => p.First);
        int[] axes = [.. own.Batch, .. own.Free, .. pairs];
        return new BackwardProduct(
            new DotDimensionNumbers(contracted, other.Free, [.. Enumerable.Range(0, batch)], other.Batch),
            [.. Enumerable.Range(0, axes.Length).Select(axis => (long)Array.IndexOf(axes, axis))]);
    }

    /// <summary>The scale of the other operand in the axes of the result, so that it can be multiplied into the gradient.</summary>
    /// <param name="scale">The scale, 1 along what the forward product contracted.</param>
    /// <param name="lhs">The axes of the left operand.</param>
    /// <param name="rhs">The axes of the right operand.</param>
    /// <param name="ofLhs">Whose scale it is.</param>
    internal static Tensor OnResult(Tensor scale, AxisGroups lhs, AxisGroups rhs, bool ofLhs)
    {
        using var scope = NewDisposeScope();
        var axes = ofLhs ? lhs : rhs;
        var shape = scale.shape;
        IEnumerable<long> Lengths(int[] group) => group.Select(axis => shape[axis]);
        IEnumerable<long> Ones(int[] group) => group.Select(_ => 1L);
        long[] result = [.. Lengths(axes.Batch), .. ofLhs ? Lengths(lhs.Free) : Ones(lhs.Free), .. ofLhs ? Ones(rhs.Free) : Lengths(rhs.Free)];
        return scale.permute(axes.Order).reshape(result).MoveToOuterDisposeScope();
    }
}
