namespace QwixSharp.Interception.Deferred;

/// <summary>Readers of attention as one call, and of the repetition of heads that comes before it.</summary>
internal static class AttentionReaders
{
    /// <summary>Along one axis, each part as often.</summary>
    internal static bool RepeatInterleave(DeferredGraph graph, ref CallArguments arguments, ref DeferredCall call)
    {
        var times = arguments.Integer(1);
        if (times < 1 || arguments[2] is not long axis || arguments[3] is not null || !graph.TryRead(arguments.Tensor(0), out var x)) return false;
        if (ShapeReaders.Axis(axis, x.Shape.Length) is not { } place) return false;
        long[] result = [.. x.Shape];
        result[place] *= times;
        (call.Operands, call.Shape, call.Axis) = (new(x), result, place);
        return true;
    }

    /// <summary>Of operands [batch, heads, tokens, size], without a mask and dropout; causal with as many queries as keys.</summary>
    internal static bool Attention(DeferredGraph graph, ref CallArguments arguments, ref DeferredCall call)
    {
        if (arguments[3] is not null || arguments.Real(4) != 0) return false;
        if (!graph.TryRead(arguments.Tensor(0), out var queries) || !graph.TryRead(arguments.Tensor(1), out var keys) || !graph.TryRead(arguments.Tensor(2), out var values)) return false;
        if (queries.Shape is not [var batch, var heads, var count, var size] || keys.Shape is not [_, _, var all, _]) return false;
        if (!keys.Shape.AsSpan().SequenceEqual([batch, heads, all, size]) || !values.Shape.AsSpan().SequenceEqual(keys.Shape)) return false;
        var isCausal = arguments.Integer(5) != 0;
        if ((isCausal && count != all) || batch * heads * count * all * size == 0 || !graph.AsksFor(arguments, queries.Shape, ref call)) return false;
        (call.Operands, call.Shape, call.Axis, call.IsContiguous) = (new([queries, keys, values]), queries.Shape, isCausal ? 1 : 0, queries.IsContiguous);
        return true;
    }
}
