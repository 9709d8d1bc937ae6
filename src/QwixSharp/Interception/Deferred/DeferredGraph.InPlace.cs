using static TorchSharp.torch;

namespace QwixSharp.Interception.Deferred;

/// <summary>Ops that write over one of their operands.</summary>
internal sealed partial class DeferredGraph
{
    private static readonly DeferrableOp Alias = DeferrableOp.Of(typeof(Tensor).GetMethod(nameof(Tensor.alias), [])!)!;

    /// <summary>
    /// Defers an op that writes its result over its first operand: the model's tensor becomes the result of a new node, and those
    /// that read what it was before read a tensor that the model does not know.
    /// </summary>
    /// <returns>What the call returns; null where it must be made now: the model can see the tensor through a view.</returns>
    private object? Overwrite(DeferrableOp op, CallArguments arguments, DeferredCall call)
    {
        var target = call.Operands[0];
        if (call.Operands.Source(0) is null) return OverwriteValue(op, arguments, call);
        if (call.Operands.Source(0) is not { IsComputed: false } old || old.Op.Rearranges || old.Siblings is not null) return null;
        for (var i = 1; i < call.Operands.Length; i++)
        {
            if (ReferenceEquals(call.Operands[i], target)) return null;
        }

        if (!call.Shape.AsSpan().SequenceEqual(old.Shape) || HasView(old)) return null;
        var before = TensorInternals.Empty();
        TensorInternals.Leave(before);
        _visit++;
        foreach (var node in _reachable) ReplaceIn(node, old, before);
        old.Tensor = before;
        arguments.Set(0, before);
        call.Operands.Set(0, before, old);
        var result = Make(op.Plain ?? op, arguments, call, target);
        // In the place of the old one: the methods that know the tensor are the same.
        _reachable[_reachable.IndexOf(old)] = result;
        old.IsReachable = false;
        if (!call.IsAliased) return target;
        var alias = new CallArguments();
        alias.Set(0, target);
        return Add(Alias, alias, new DeferredCall { Operands = new(new Operand(target, result)), Shape = call.Shape, IsContiguous = call.IsContiguous }).Tensor;
    }

    /// <summary>
    /// Writes an op's result over a tensor that has a value. Only what was deferred before and reads its memory is computed first; of any
    /// other op in place all would be.
    /// </summary>
    /// <returns>What the call returns; null where it must be made as it was written.</returns>
    private object? OverwriteValue(DeferrableOp op, CallArguments arguments, in DeferredCall call)
    {
        var target = call.Operands[0];
        if (TensorInternals.GradientsAreRecorded() || !_evaluator.MayRearrange(target) || !TryRead(target, out var readable)) return null;
        // What may lie over itself is left to libtorch.
        if (!readable.IsContiguous || !call.Shape.AsSpan().SequenceEqual(readable.Shape)) return null;
        var result = Add(op.Plain ?? op, arguments, call);
        ComputeReadersOf(new Leaves { Memory = TensorInternals.Memory(TensorInternals.Handle(target)), SpareViews = true });
        Compute(result);
        target.copy_(result.Tensor);
        Forget(result);
        return call.IsAliased ? target.alias() : target;
    }

    /// <summary>Puts a tensor in the place of a node's, where the nodes before another one read it.</summary>
    private void ReplaceIn(DeferredNode reader, DeferredNode node, Tensor tensor)
    {
        if (reader.Visit == _visit || reader.HasValue) return;
        reader.Visit = _visit;
        for (var i = 0; i < reader.Operands.Length; i++)
        {
            if (reader.Origin(i) is not { } source) continue;
            if (source == node) reader.Replace(node.Tensor, tensor);
            else if (!source.HasValue) ReplaceIn(source, node, tensor);
        }
    }

    private bool HasView(DeferredNode source)
    {
        foreach (var node in _reachable)
        {
            if (node.Op.Rearranges && IsViewOf(node, source)) return true;
        }

        return false;
    }

    private static bool IsViewOf(DeferredNode node, DeferredNode source)
    {
        for (; node.Op.Rearranges; node = node.Origin(0)!)
        {
            if (node.Origin(0) is not { } origin) return false;
            if (origin == source) return true;
        }

        return false;
    }
}
