using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Arrays;

/// <content>Transposing, reshaping and indexing, with scales that stay right.</content>
public sealed partial class QArray
{
    /// <summary>Part of the array.</summary>
    /// <param name="index">One entry an axis; see <see cref="QIndex"/>. Axes that are not named are whole.</param>
    /// <returns>A QArray that the caller owns.</returns>
    /// <exception cref="ArgumentException">Too many entries, an index out of range, or a range that cuts through tiles.</exception>
    public QArray this[params QIndex[] index] => QArrayIndexing.Take(this, index);

    /// <summary>The array with its axes in another order; reversed unless told.</summary>
    /// <param name="axes">The old axis for each new one; empty reverses them.</param>
    /// <returns>A QArray that the caller owns; it may share memory with this one.</returns>
    /// <exception cref="ArgumentException">The axes are not a permutation.</exception>
    public QArray Transpose(params int[] axes)
    {
        long[] order = axes.Length == 0
            ? [.. Enumerable.Range(0, Rank).Reverse().Select(a => (long)a)]
            : [.. axes.Select(a => (long)(a < 0 ? a + Rank : a))];
        if (!order.Order().SequenceEqual(Enumerable.Range(0, Rank).Select(a => (long)a)))
            throw new ArgumentException($"[{string.Join(", ", axes)}] is not an order of the {Rank} axes.", nameof(axes));
        return Rearrange([.. order.Select(a => _shape[a])], t => t.permute(order));
    }

    /// <summary>The array with two axes exchanged.</summary>
    /// <param name="axis1">An axis; negative counts from the end.</param>
    /// <param name="axis2">Another.</param>
    /// <returns>A QArray that the caller owns; it may share memory with this one.</returns>
    public QArray SwapAxes(int axis1, int axis2)
    {
        int[] axes = [.. Enumerable.Range(0, Rank)];
        int a = Normalize(axis1), b = Normalize(axis2);
        (axes[a], axes[b]) = (axes[b], axes[a]);
        return Transpose(axes);
    }

    /// <summary>The array in another shape. Not every reshape leaves room for the scales.</summary>
    /// <param name="shape">The new shape, of as many elements; one entry may be −1.</param>
    /// <returns>A QArray that the caller owns; it may share memory with this one.</returns>
    /// <exception cref="ArgumentException">The number of elements differs, or an axis that has several scales would be merged.</exception>
    public QArray Reshape(params long[] shape)
    {
        var target = InferShape(shape);
        var groups = ReshapeGroups.Pair(_shape, target);
        return Rearrange(target, t => t.reshape(ReshapeGroups.Apply(groups, t.shape, _shape, target)));
    }

    /// <summary>The array repeated along axes of length 1, or along whole tiles.</summary>
    /// <param name="shape">The shape; axes missing in front are added.</param>
    /// <returns>A QArray that the caller owns.</returns>
    /// <exception cref="ArgumentException">The shapes do not broadcast.</exception>
    public QArray BroadcastTo(params long[] shape)
    {
        if (shape.Length < Rank)
            throw new ArgumentException($"Cannot broadcast {HowToQuantize.Format(_shape)} to {HowToQuantize.Format(shape)}.", nameof(shape));
        return Rearrange(shape, t => GenericBroadcast.Expand(t.reshape([.. Enumerable.Repeat(1L, shape.Length - Rank), .. t.shape]), shape), codesOnly: true);
    }

    /// <summary>A QArray of the same type with each part rearranged; codes are unpacked for it and packed again.</summary>
    internal QArray Rearrange(long[] shape, Func<Tensor, Tensor> rearrange, bool codesOnly = false)
    {
        using var scope = NewDisposeScope();
        // A scale need not follow where codes are only repeated: it broadcasts to them.
        Tensor Small(Tensor t) => codesOnly ? t.reshape([.. Enumerable.Repeat(1L, shape.Length - Rank), .. t.shape]) : rearrange(t);
        var codes = rearrange(GetQValue());
        return new QArray(QType, shape, CodePacking.Pack(codes, QType), Small(Scale), ZeroPoint is null ? null : Small(ZeroPoint)).MoveToOuterDisposeScope();
    }

    private int Normalize(int axis)
    {
        int normal = axis < 0 ? axis + Rank : axis;
        return normal >= 0 && normal < Rank ? normal : throw new ArgumentOutOfRangeException(nameof(axis), axis, $"The array has {Rank} axes.");
    }

    private long[] InferShape(long[] shape)
    {
        long total = _shape.Aggregate(1L, (a, b) => a * b), known = shape.Where(s => s != -1).Aggregate(1L, (a, b) => a * b);
        long[] target = [.. shape.Select(s => s == -1 && known != 0 ? total / known : s)];
        if (shape.Count(s => s == -1) > 1 || target.Aggregate(1L, (a, b) => a * b) != total)
            throw new ArgumentException($"Cannot reshape {HowToQuantize.Format(_shape)} into {HowToQuantize.Format(shape)}: the number of elements differs.", nameof(shape));
        return target;
    }
}
