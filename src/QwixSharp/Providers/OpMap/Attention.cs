using QwixSharp.Interception;
using QwixSharp.Numerics;
using QwixSharp.Providers.Models;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.Providers.OpMap;

/// <summary>The two products inside scaled dot-product attention.</summary>
internal static class Attention
{
    internal static readonly Dictionary<string, OpHandler> Handlers = new() { ["scaled_dot_product_attention"] = Attend };

    private static object? Attend(ModelRun run, in OpCall call)
    {
        if (run.Find(call, OpNames.DotGeneral) is not { } scores || run.Find(call, OpNames.DotGeneral) is not { } mix)
            return run.Proceed(call);
        if (scores.Site.Rule.ActQType is null)
            return run.Proceed(call); // both operands are activations, and these stay as they are
        using var scope = NewDisposeScope();
        Tensor query = Arguments.Tensor(call, 0), key = Arguments.Tensor(call, 1), value = Arguments.Tensor(call, 2);
        long[] stack = broadcast_shapes(query.shape[..^2], key.shape[..^2], value.shape[..^2]).Shape;
        (query, key, value) = (Stacked(query, stack), Stacked(key, stack), Stacked(value, stack));
        int rank = (int)query.dim();
        int[] batch = [.. Enumerable.Range(0, rank - 2)];
        var weights = scores.Provider.DotGeneral(scores.Site, run.State.Operand(query), run.State.Operand(key), new([rank - 1], [rank - 1], batch, batch)) / Math.Sqrt(query.shape[^1]);
        weights = Mask(weights, (Tensor?)call.Arguments[3], (bool)call.Arguments[5]!).softmax(-1);
        double dropout = (double)call.Arguments[4]!;
        if (dropout > 0)
            weights = nn.functional.dropout(weights, dropout);
        return mix.Provider.DotGeneral(mix.Site, run.State.Operand(weights), run.State.Operand(value), new([rank - 1], [rank - 2], batch, batch)).MoveToOuterDisposeScope();
    }

    private static Tensor Stacked(Tensor x, long[] stack) => x.shape[..^2].SequenceEqual(stack) ? x : x.expand([.. stack, .. x.shape[^2..]]);

    private static Tensor Mask(Tensor scores, Tensor? mask, bool causal)
    {
        if (causal)
            mask = ones(scores.shape[^2], scores.shape[^1], ScalarType.Bool, scores.device).tril();
        if (mask is null)
            return scores;
        return mask.dtype == ScalarType.Bool ? scores.masked_fill(mask.logical_not(), LastingNumber.Of(double.NegativeInfinity)) : scores.add(mask, LastingNumber.Of(1));
    }
}
