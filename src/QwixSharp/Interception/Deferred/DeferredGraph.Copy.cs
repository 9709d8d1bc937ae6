using static TorchSharp.torch;

namespace QwixSharp.Interception.Deferred;

/// <summary>Copies over tensors that have values, such as a cache of keys and values that belongs to the model.</summary>
internal sealed partial class DeferredGraph
{
    /// <summary>
    /// Copies over a tensor that has a value, or over deferred views of one. What was deferred before and reads its memory is computed
    /// first; views of it see what is copied, as any view does.
    /// </summary>
    /// <returns>What the call returns, the target; null where it must be made as it was written.</returns>
    private object? Copy(in DeferredCall call)
    {
        var (target, view) = (call.Operands[0], call.Operands.Source(0));
        if (Viewed(target, view) is not { } whole || TensorInternals.GradientsAreRecorded() || !_evaluator.MayRearrange(whole)) return null;
        // Of what may lie over itself a copy is an error.
        if (!TryRead(whole, out var readable) || !readable.IsContiguous) return null;
        ComputeReadersOf(new Leaves { Memory = TensorInternals.Memory(TensorInternals.Handle(whole)), SpareViews = true });
        return _evaluator.TryCopy(new(call.Operands[1], call.Operands.Source(1)), new(target, view), this) ? target : null;
    }

    /// <summary>The tensor with a value that a tensor is or shows through deferred views; null where there is none.</summary>
    private static Tensor? Viewed(Tensor tensor, DeferredNode? node)
    {
        for (; node is { HasValue: false }; node = node.Origin(0))
        {
            if (!node.IsView) return null;
            tensor = node.Operands[0];
        }

        return node is null && TensorInternals.Handle(tensor) != 0 ? tensor : null;
    }
}
