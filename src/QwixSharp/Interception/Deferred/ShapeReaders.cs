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

    internal static long Count(long[] shape)
    {
        var count = 1L;
        foreach (var length in shape) count *= length;
        return count;
    }

    internal static bool Mean(DeferredGraph graph, object?[] arguments, ref DeferredCall call)
    {
        // Along one axis that stays, without a change of type.
        if (arguments[0] is not Tensor tensor || graph.ShapeOf(tensor) is not { } shape) return false;
        if (arguments[1] is not long[] { Length: 1 } axes || arguments[2] is not true || arguments[3] is not null || Axis(axes[0], shape.Length) is not { } axis) return false;
        long[] result = [.. shape];
        result[axis] = 1;
        (call.Operands, call.Shape, call.Axis, call.IsContiguous) = ([tensor], result, axis, graph.IsContiguous(tensor));
        return true;
    }

    internal static bool Concatenate(DeferredGraph graph, object?[] arguments, ref DeferredCall call)
    {
        // A list of the model's may be changed before the result is computed, so its tensors are kept.
        Tensor[] parts = arguments[0] switch
        {
            Tensor[] array => [.. array],
            IList<Tensor> list => [.. list],
            _ => [],
        };
        if (parts.Length == 0 || parts[0] is null || graph.ShapeOf(parts[0]) is not { } first || Axis((long)arguments[1]!, first.Length) is not { } axis) return false;
        long[] shape = [.. first];
        for (var i = 1; i < parts.Length; i++)
        {
            if (parts[i] is null || graph.ShapeOf(parts[i]) is not { } other || other.Length != shape.Length) return false;
            for (var k = 0; k < shape.Length; k++)
            {
                if (k != axis && other[k] != shape[k]) return false;
            }

            shape[axis] += other[axis];
        }

        arguments[0] = arguments[0] is Tensor[]? parts : parts.ToList();
        (call.Operands, call.Shape, call.Axis, call.IsContiguous) = (parts, shape, axis, true);
        return true;
    }

    internal static bool Narrow(DeferredGraph graph, object?[] arguments, ref DeferredCall call)
    {
        if (arguments[0] is not Tensor tensor || graph.ShapeOf(tensor) is not { } shape || Axis((long)arguments[1]!, shape.Length) is not { } axis) return false;
        long start = (long)arguments[2]!, length = (long)arguments[3]!;
        if (start < 0 || length < 0 || start + length > shape[axis]) return false;
        Part(ref call, tensor, shape, axis, start, length);
        return true;
    }

    /// <summary>The first of the parts; the graph makes the others from it.</summary>
    internal static bool Chunk(DeferredGraph graph, object?[] arguments, ref DeferredCall call)
    {
        if (arguments[0] is not Tensor tensor || graph.ShapeOf(tensor) is not { } shape || Axis((long)arguments[2]!, shape.Length) is not { } axis) return false;
        var chunks = (long)arguments[1]!;
        // Parts of one length alone.
        if (chunks < 1 || shape[axis] == 0 || shape[axis] % chunks != 0) return false;
        Part(ref call, tensor, shape, axis, 0, shape[axis] / chunks);
        return true;
    }

    internal static bool Reshape(DeferredGraph graph, object?[] arguments, ref DeferredCall call)
    {
        if (arguments[0] is not Tensor tensor || arguments[1] is not long[] wanted || graph.ShapeOf(tensor) is not { } shape) return false;
        // Of a tensor with gaps a view may be impossible.
        return graph.IsContiguous(tensor) && Complete(wanted, Count(shape)) is { } result && As(ref call, tensor, result);
    }

    internal static bool Flatten(DeferredGraph graph, object?[] arguments, ref DeferredCall call)
    {
        if (arguments[0] is not Tensor tensor || graph.ShapeOf(tensor) is not { Length: > 0 } shape) return false;
        if (Axis((long)arguments[1]!, shape.Length) is not { } from || Axis((long)arguments[2]!, shape.Length) is not { } to || from > to) return false;
        long[] result = [.. shape[..from], Count(shape[from..(to + 1)]), .. shape[(to + 1)..]];
        call.IsContiguous = graph.IsContiguous(tensor);
        (call.Operands, call.Shape) = ([tensor], result);
        return true;
    }

    internal static bool Transpose(DeferredGraph graph, object?[] arguments, ref DeferredCall call)
    {
        if (arguments[0] is not Tensor tensor || graph.ShapeOf(tensor) is not { } shape) return false;
        if (Axis((long)arguments[1]!, shape.Length) is not { } a || Axis((long)arguments[2]!, shape.Length) is not { } b) return false;
        long[] result = [.. shape];
        (result[a], result[b]) = (shape[b], shape[a]);
        (call.Operands, call.Shape, call.Axis, call.Start) = ([tensor], result, a, b);
        return true;
    }

    /// <summary>Of as many axes on both sides, three at least, and without broadcasting.</summary>
    internal static bool MatMul(DeferredGraph graph, object?[] arguments, ref DeferredCall call)
    {
        if (arguments[0] is not Tensor a || arguments[1] is not Tensor b || graph.ShapeOf(a) is not { Length: > 2 } left || graph.ShapeOf(b) is not { } right) return false;
        if (left.Length != right.Length || left[^1] != right[^2] || !left.AsSpan(0, left.Length - 2).SequenceEqual(right.AsSpan(0, right.Length - 2))) return false;
        if (!graph.AsksFor(arguments, left, ref call)) return false;
        (call.Operands, call.Shape, call.IsContiguous) = ([a, b], [.. left[..^1], right[^1]], true);
        return true;
    }

    /// <summary>Without a change of type.</summary>
    internal static bool Softmax(DeferredGraph graph, object?[] arguments, ref DeferredCall call)
    {
        if (arguments[0] is not Tensor tensor || arguments[2] is not null || graph.ShapeOf(tensor) is not { } shape || Axis((long)arguments[1]!, shape.Length) is not { } axis) return false;
        (call.Operands, call.Shape, call.Axis, call.IsContiguous) = ([tensor], shape, axis, graph.IsContiguous(tensor));
        return true;
    }

    private static bool As(ref DeferredCall call, Tensor tensor, long[] shape)
    {
        (call.Operands, call.Shape, call.IsContiguous) = ([tensor], shape, true);
        return true;
    }

    private static void Part(ref DeferredCall call, Tensor tensor, long[] shape, int axis, long start, long length)
    {
        long[] result = [.. shape];
        result[axis] = length;
        (call.Operands, call.Shape, call.Axis, call.Start) = ([tensor], result, axis, start);
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
