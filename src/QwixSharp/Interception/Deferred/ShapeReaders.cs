using static TorchSharp.torch;

namespace QwixSharp.Interception.Deferred;

/// <summary>Readers of the calls whose results have another shape than their operands.</summary>
internal static class ShapeReaders
{
    /// <summary>The shape of an op of two tensors; null where they do not fit.</summary>
    internal static long[]? Broadcast(long[] a, long[] b)
    {
        if (ReferenceEquals(a, b) || a.AsSpan().SequenceEqual(b)) return a;
        if (a.Length < b.Length) (a, b) = (b, a);
        long[]? shape = null;
        for (var i = 1; i <= b.Length; i++)
        {
            long left = a[^i], right = b[^i];
            if (left == right || right == 1) continue;
            if (left != 1) return null;
            (shape ??= [.. a])[^i] = right;
        }

        return shape ?? a;
    }

    internal static long Count(ReadOnlySpan<long> shape)
    {
        var count = 1L;
        foreach (var length in shape) count *= length;
        return count;
    }

    internal static bool Mean(DeferredGraph graph, ref CallArguments arguments, ref DeferredCall call)
    {
        // Along one axis that stays, without a change of type.
        if (arguments[1] is not long[] { Length: 1 } axes || arguments.Integer(2) == 0 || arguments[3] is not null) return false;
        if (!graph.TryRead(arguments.Tensor(0), out var x) || Axis(axes[0], x.Shape.Length) is not { } axis) return false;
        long[] result = [.. x.Shape];
        result[axis] = 1;
        (call.Operands, call.Shape, call.Axis, call.IsContiguous) = (new(x), result, axis, x.IsContiguous);
        return true;
    }

    internal static bool Concatenate(DeferredGraph graph, ref CallArguments arguments, ref DeferredCall call)
    {
        // A list of the model's may be changed before the result is computed, so its tensors are kept.
        Tensor?[] parts = arguments[0] switch
        {
            Tensor[] array => [.. array],
            IList<Tensor> list => [.. list],
            _ => [],
        };
        if (parts.Length == 0 || !graph.TryRead(parts[0], out var first) || Axis(arguments.Integer(1), first.Shape.Length) is not { } axis) return false;
        var operands = new ReadableTensor[parts.Length];
        operands[0] = first;
        long[] shape = [.. first.Shape];
        for (var i = 1; i < parts.Length; i++)
        {
            if (!graph.TryRead(parts[i], out operands[i]) || operands[i].Shape is var other && other.Length != shape.Length) return false;
            for (var k = 0; k < shape.Length; k++)
            {
                if (k != axis && other[k] != shape[k]) return false;
            }

            shape[axis] += other[axis];
        }

        arguments.Set(0, arguments[0] is Tensor[]? parts : parts.ToList());
        (call.Operands, call.Shape, call.Axis, call.IsContiguous) = (new(operands), shape, axis, true);
        return true;
    }

    internal static bool Narrow(DeferredGraph graph, ref CallArguments arguments, ref DeferredCall call)
    {
        if (!graph.TryRead(arguments.Tensor(0), out var x) || Axis(arguments.Integer(1), x.Shape.Length) is not { } axis) return false;
        long start = arguments.Integer(2), length = arguments.Integer(3);
        if (start < 0 || length < 0 || start + length > x.Shape[axis]) return false;
        Part(ref call, x, axis, start, length);
        return true;
    }

    /// <summary>The first of the parts; the graph makes the others from it.</summary>
    internal static bool Chunk(DeferredGraph graph, ref CallArguments arguments, ref DeferredCall call)
    {
        if (!graph.TryRead(arguments.Tensor(0), out var x) || Axis(arguments.Integer(2), x.Shape.Length) is not { } axis) return false;
        var chunks = arguments.Integer(1);
        // Parts of one length alone.
        if (chunks < 1 || x.Shape[axis] == 0 || x.Shape[axis] % chunks != 0) return false;
        Part(ref call, x, axis, 0, x.Shape[axis] / chunks);
        return true;
    }

    internal static bool Reshape(DeferredGraph graph, ref CallArguments arguments, ref DeferredCall call)
    {
        // Of a tensor with gaps a view may be impossible.
        if (arguments[1] is not long[] wanted || !graph.TryRead(arguments.Tensor(0), out var x) || !x.IsContiguous || Complete(wanted, Count(x.Shape)) is not { } shape) return false;
        (call.Operands, call.Shape, call.IsContiguous) = (new(x), shape, true);
        return true;
    }

    internal static bool Flatten(DeferredGraph graph, ref CallArguments arguments, ref DeferredCall call)
    {
        if (!graph.TryRead(arguments.Tensor(0), out var x) || x.Shape is not { Length: > 0 } shape) return false;
        if (Axis(arguments.Integer(1), shape.Length) is not { } from || Axis(arguments.Integer(2), shape.Length) is not { } to || from > to) return false;
        var result = new long[shape.Length - (to - from)];
        shape.AsSpan(0, from).CopyTo(result);
        result[from] = Count(shape.AsSpan(from, to + 1 - from));
        shape.AsSpan(to + 1).CopyTo(result.AsSpan(from + 1));
        (call.Operands, call.Shape, call.IsContiguous) = (new(x), result, x.IsContiguous);
        return true;
    }

    internal static bool Transpose(DeferredGraph graph, ref CallArguments arguments, ref DeferredCall call)
    {
        if (!graph.TryRead(arguments.Tensor(0), out var x)) return false;
        if (Axis(arguments.Integer(1), x.Shape.Length) is not { } a || Axis(arguments.Integer(2), x.Shape.Length) is not { } b) return false;
        long[] result = [.. x.Shape];
        (result[a], result[b]) = (x.Shape[b], x.Shape[a]);
        (call.Operands, call.Shape, call.Axis, call.Start) = (new(x), result, a, b);
        return true;
    }

    /// <summary>Of as many axes on both sides, three at least, and without broadcasting.</summary>
    internal static bool MatMul(DeferredGraph graph, ref CallArguments arguments, ref DeferredCall call)
    {
        if (!graph.TryRead(arguments.Tensor(0), out var a) || !graph.TryRead(arguments.Tensor(1), out var b) || a.Shape is not { Length: > 2 } left || b.Shape is not { } right) return false;
        if (left.Length != right.Length || left[^1] != right[^2] || !left.AsSpan(0, left.Length - 2).SequenceEqual(right.AsSpan(0, right.Length - 2))) return false;
        if (!graph.AsksFor(arguments, left, ref call)) return false;
        (call.Operands, call.Shape, call.IsContiguous) = (new(a, b), [.. left[..^1], right[^1]], true);
        return true;
    }

    /// <summary>Without a change of type.</summary>
    internal static bool Softmax(DeferredGraph graph, ref CallArguments arguments, ref DeferredCall call)
    {
        if (arguments[2] is not null || !graph.TryRead(arguments.Tensor(0), out var x) || Axis(arguments.Integer(1), x.Shape.Length) is not { } axis) return false;
        (call.Operands, call.Shape, call.Axis, call.IsContiguous) = (new(x), x.Shape, axis, x.IsContiguous);
        return true;
    }

    private static void Part(ref DeferredCall call, in ReadableTensor x, int axis, long start, long length)
    {
        long[] result = [.. x.Shape];
        result[axis] = length;
        (call.Operands, call.Shape, call.Axis, call.Start) = (new(x), result, axis, start);
    }

    internal static int? Axis(long axis, int rank)
    {
        if (axis < 0) axis += rank;
        return axis >= 0 && axis < rank ? (int)axis : null;
    }

    /// <summary>A shape whose length of −1, if there is one, is filled in; null where the elements do not fit.</summary>
    private static long[]? Complete(long[] wanted, long count)
    {
        var (known, open) = (1L, -1);
        for (var i = 0; i < wanted.Length; i++)
        {
            if (wanted[i] >= 0) known *= wanted[i];
            else if (wanted[i] == -1 && open < 0) open = i;
            else return null;
        }

        if (open < 0) return known == count ? [.. wanted] : null;
        if (known == 0 || count % known != 0) return null;
        long[] shape = [.. wanted];
        shape[open] = count / known;
        return shape;
    }
}
