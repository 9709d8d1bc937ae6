using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Interception.Deferred;

/// <summary>The metadata of the tensors with values that were asked for last: the same few come again and again.</summary>
internal sealed class LeafCache(IDeferredEvaluator evaluator)
{
    private const int Places = 8;

    private readonly Leaf[] _leaves = new Leaf[Places];
    private int _next;

    /// <summary>Whether deferred ops may read a tensor.</summary>
    internal bool TryGet(Tensor tensor, out ReadableTensor readable)
    {
        foreach (ref readonly var known in _leaves.AsSpan())
        {
            if (!ReferenceEquals(known.Tensor, tensor)) continue;
            readable = new(tensor, null, known.Shape!, known.IsContiguous);
            return known.Shape is not null;
        }

        ref var leaf = ref _leaves[_next];
        leaf = Read(tensor);
        _next = (_next + 1) % Places;
        readable = new(tensor, null, leaf.Shape!, leaf.IsContiguous);
        return leaf.Shape is not null;
    }

    /// <summary>Forgets everything: tensors may have changed.</summary>
    internal void Clear() => Array.Clear(_leaves);

    private Leaf Read(Tensor tensor)
    {
        var handle = TensorInternals.Handle(tensor);
        var mayBeRead = TensorInternals.ElementType(handle) == (sbyte)ScalarType.Float32
            && TensorInternals.DeviceKind(handle) == (int)DeviceType.CPU
            && !TensorInternals.IsSparse(handle)
            && !(TensorInternals.GradientsAreRecorded() && TensorInternals.RequiresGradient(handle))
            && evaluator.MayRead(tensor);
        return mayBeRead ? new(tensor, TensorInternals.Shape(handle), TensorInternals.IsContiguous(handle)) : new(tensor, null, false);
    }

    /// <param name="Tensor">The tensor.</param>
    /// <param name="Shape">Its shape; null where deferred ops may not read it.</param>
    /// <param name="IsContiguous">Whether it lies without gaps in row-major order.</param>
    private readonly record struct Leaf(Tensor? Tensor, long[]? Shape, bool IsContiguous);
}
