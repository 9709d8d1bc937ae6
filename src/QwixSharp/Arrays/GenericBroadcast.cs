using static TorchSharp.torch;

namespace QwixSharp.Arrays;

/// <summary>
/// Broadcasting of scales to values: an axis of the scale may also have a divisor of the value's length, and then each
/// scale serves a tile.
/// </summary>
internal static class GenericBroadcast
{
    /// <summary>Applies an element-wise op to two tensors of the same rank.</summary>
    /// <returns>What <paramref name="op"/> gives, in the larger shape of each axis; the caller owns it.</returns>
    internal static Tensor Apply(Func<Tensor, Tensor, Tensor> op, Tensor x, Tensor y)
    {
        if (x.dim() != y.dim())
            throw new ArgumentException($"Cannot broadcast {HowToQuantize.Format(x.shape)} and {HowToQuantize.Format(y.shape)}: the ranks differ.");
        long[] xs = x.shape, ys = y.shape;
        List<long> xSplit = [], ySplit = [], result = [];
        for (int i = 0; i < xs.Length; i++)
        {
            long a = xs[i], b = ys[i];
            result.Add(a == 1 ? b : b == 1 ? a : Math.Max(a, b));
            if (a == b || a == 1 || b == 1)
            {
                xSplit.Add(a);
                ySplit.Add(b);
            }
            else if (b > 0 && a % b == 0)
            {
                xSplit.AddRange([b, a / b]);
                ySplit.AddRange([b, 1]);
            }
            else if (a > 0 && b % a == 0)
            {
                xSplit.AddRange([a, 1]);
                ySplit.AddRange([a, b / a]);
            }
            else
            {
                throw new ArgumentException($"Cannot broadcast {HowToQuantize.Format(xs)} and {HowToQuantize.Format(ys)}.");
            }
        }

        if (result.Count == xSplit.Count)
            return op(x, y);
        using var left = x.reshape([.. xSplit]);
        using var right = y.reshape([.. ySplit]);
        using var value = op(left, right);
        return value.reshape([.. result]);
    }

    /// <summary>Repeats a scale, zero point or any tensor so that it has a shape of its own rank.</summary>
    internal static Tensor Expand(Tensor x, ReadOnlySpan<long> shape)
    {
        using var scope = NewDisposeScope();
        var target = empty(shape, dtype: x.dtype, device: x.device);
        return Apply((a, b) => a.expand(b.shape), x, target).contiguous().MoveToOuterDisposeScope();
    }

    /// <summary>Cuts axes into (number of tiles, tile size).</summary>
    internal static Tensor SplitAxes(Tensor x, IReadOnlyDictionary<int, long> tiles)
    {
        var shape = x.shape;
        List<long> split = [];
        for (int axis = 0; axis < shape.Length; axis++)
        {
            if (tiles.TryGetValue(axis, out long size))
                split.AddRange([shape[axis] / size, size]);
            else
                split.Add(shape[axis]);
        }

        return x.reshape([.. split]);
    }
}
