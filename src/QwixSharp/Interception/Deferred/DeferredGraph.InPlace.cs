using static TorchSharp.torch;

namespace QwixSharp.Interception.Deferred;

/// <summary>Ops that write over a tensor without a value.</summary>
internal sealed partial class DeferredGraph
{
    private static readonly DeferrableOp Alias = DeferrableOp.Of(typeof(Tensor).GetMethod(nameof(Tensor.alias), [])!)!;

    /// <summary>
    /// Defers an op that writes its result over its first operand: the model's tensor becomes the result of a new node, and those
    /// that read what it was before read a tensor that the model does not know.
    /// </summary>
    /// <returns>What the call returns; null where it must be made now: the tensor has a value, or the model can see it through a view.</returns>
    private object? Overwrite(DeferrableOp op, object?[] arguments, DeferredCall call)
    {
        var target = call.Operands![0];
        if (TensorInternals.Handle(target) != 0 || Find(target) is not { } old || old.Op.Rearranges || old.Siblings is not null || old.Depth >= MostDepth) return null;
        if (call.Operands.Skip(1).Any(operand => ReferenceEquals(operand, target)) || !call.Shape.AsSpan().SequenceEqual(old.Shape)) return null;
        if (_reachable.Exists(node => node.Op.Rearranges && IsViewOf(node, old))) return null;
        var before = TensorInternals.Empty();
        TensorInternals.Forget(before);
        foreach (var reader in old.Consumers) reader.Replace(target, before);
        old.Tensor = before;
        call.Operands = [before, .. call.Operands[1..]];
        var sources = new DeferredNode?[call.Operands.Length];
        sources[0] = old;
        var depth = old.Depth;
        for (var i = 1; i < sources.Length; i++)
        {
            if (TensorInternals.Handle(call.Operands[i]) != 0) continue;
            sources[i] = Find(call.Operands[i])!;
            depth = Math.Max(depth, sources[i]!.Depth);
        }

        foreach (var source in sources)
        {
            if (source is not null) source.Readers++;
        }

        var node = new DeferredNode(op.Plain ?? op, [before, .. arguments[1..]], call, target, sources) { Depth = depth + 1 };
        Follow(node);
        // In the place of the old one: the methods that know the tensor are the same.
        _reachable[_reachable.IndexOf(old)] = node;
        old.IsReachable = false;
        return call.IsAliased ? Add(Alias, [target], new DeferredCall { Operands = [target], Shape = call.Shape, IsContiguous = call.IsContiguous }).Tensor : target;
    }

    private static bool IsViewOf(DeferredNode node, DeferredNode source)
    {
        for (; node.Op.Rearranges; node = node.Source(0)!)
        {
            if (node.Source(0) is not { } origin) return false;
            if (origin == source) return true;
        }

        return false;
    }

    private static void Follow(DeferredNode node)
    {
        for (var i = 0; i < node.Operands.Length; i++) node.Origin(i)?.Consumers.Add(node);
    }
}
