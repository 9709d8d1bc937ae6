using static TorchSharp.torch;

namespace QwixSharp.Interception.Deferred;

/// <summary>Readers of attention as one call, and of the repetition of heads that comes before it.</summary>
internal static class AttentionReaders
{
    /// <summary>Along one axis, each part as often.</summary>
    internal static bool RepeatInterleave(DeferredGraph graph, object?[] arguments, ref DeferredCall call)
    {
        if (arguments[0] is not Tensor tensor || arguments[1] is not >= 1L || arguments[2] is not long axis || arguments[3] is not null) return false;
        if (graph.ShapeOf(tensor) is not { } shape || ShapeReaders.Axis(axis, shape.Length) is not { } place) return false;
        long[] result = [.. shape];
        result[place] *= (long)arguments[1]!;
        (call.Operands, call.Shape, call.Axis) = ([tensor], result, place);
        return true;
    }

    /// <summary>Of operands [batch, heads, tokens, size], without a mask and dropout; causal with as many queries as keys.</summary>
    internal static bool Attention(DeferredGraph graph, object?[] arguments, ref DeferredCall call)
    {
        if (arguments is not [Tensor queries, Tensor keys, Tensor values, null, 0.0, bool isCausal]) return false;
        if (graph.ShapeOf(queries) is not [var batch, var heads, var count, var size] shape || graph.ShapeOf(keys) is not { } keyShape || graph.ShapeOf(values) is not { } valueShape) return false;
        if (keyShape is not [_, _, var all, _] || !keyShape.AsSpan().SequenceEqual([batch, heads, all, size]) || !valueShape.AsSpan().SequenceEqual(keyShape)) return false;
        if ((isCausal && count != all) || batch * heads * count * all * size == 0 || !graph.AsksFor(arguments, shape, ref call)) return false;
        (call.Operands, call.Shape, call.Axis, call.IsContiguous) = ([queries, keys, values], shape, isCausal ? 1 : 0, graph.IsContiguous(queries));
        return true;
    }
}
