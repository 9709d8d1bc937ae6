using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Interception.Deferred;

/// <summary>The metadata of the tensors that were asked for last: the same few come again and again.</summary>
internal sealed class LeafCache(IDeferredEvaluator evaluator)
{
    private const int Places = 8;

    private readonly Leaf?[] _leaves = new Leaf?[Places];
    private int _next;

    internal Leaf Get(Tensor tensor)
    {
        foreach (var known in _leaves)
        {
            if (known is not null && ReferenceEquals(known.Tensor, tensor)) return known;
        }

        var leaf = new Leaf(tensor, evaluator);
        _leaves[_next] = leaf;
        _next = (_next + 1) % Places;
        return leaf;
    }

    /// <summary>Forgets everything: tensors may have changed.</summary>
    internal void Clear() => Array.Clear(_leaves);

    internal sealed class Leaf
    {
        internal Leaf(Tensor tensor, IDeferredEvaluator evaluator)
        {
            Tensor = tensor;
            var handle = TensorInternals.Handle(tensor);
            MayBeRead = TensorInternals.ElementType(handle) == (sbyte)ScalarType.Float32
                && TensorInternals.DeviceKind(handle) == (int)DeviceType.CPU
                && !TensorInternals.IsSparse(handle)
                && !(TensorInternals.GradientsAreRecorded() && TensorInternals.RequiresGradient(handle))
                && evaluator.MayRead(tensor);
            Shape = MayBeRead ? TensorInternals.Shape(handle) : [];
            IsContiguous = MayBeRead && TensorInternals.IsContiguous(handle);
        }

        internal Tensor Tensor { get; }

        internal bool MayBeRead { get; }

        internal long[] Shape { get; }

        internal bool IsContiguous { get; }
    }
}
