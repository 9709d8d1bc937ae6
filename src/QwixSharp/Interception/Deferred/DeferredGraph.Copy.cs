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
        ComputeReadersOfMemory(TensorInternals.Memory(TensorInternals.Handle(whole)));
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

    /// <summary>Computes what reads memory, by whichever tensors, and does not just show it.</summary>
    private void ComputeReadersOfMemory((nint From, nint To) memory)
    {
        ComputeReadersOf(IsThere, node => Viewed(node.Tensor, node) is null);

        bool IsThere(Tensor leaf) => TensorInternals.Handle(leaf) is var handle and not 0 && TensorInternals.Memory(handle) is var (from, to) && from < memory.To && memory.From < to;
    }
}
