using static TorchSharp.torch;

namespace QwixSharp.Interception.Deferred;

/// <summary>How methods that <see cref="TakesDeferredAttribute">take tensors without values</see> read them. These are float32 on the CPU.</summary>
internal static class DeferredValues
{
    /// <summary>The shape of a tensor that waits for its value, not to be changed; null for any other.</summary>
    internal static long[]? ShapeOf(Tensor tensor) => Node(tensor)?.Shape;

    /// <summary>Computes a tensor that waits for its value, if need be; no tensor is made of it where that is not needed.</summary>
    /// <param name="tensor">The tensor.</param>
    /// <param name="strides">The distances along its axes, in elements; written.</param>
    /// <returns>Where its first element is, until anything else is computed.</returns>
    internal static nint Locate(Tensor tensor, Span<long> strides) => DeferredGraph.Current!.Locate(Node(tensor)!, strides);

    /// <summary>A tensor that waits gets its value, as a tensor like any other.</summary>
    internal static Tensor Concrete(Tensor tensor) => Deferral.ConcreteTensor(tensor)!;

    /// <summary>Makes a tensor whose value lies in lent memory until one like any other is needed. Only copied code may get it.</summary>
    /// <param name="shape">Its shape, which is kept.</param>
    /// <param name="memory">Disposed when nobody can need the value any more.</param>
    /// <param name="address">Where the elements lie, in row-major order without gaps.</param>
    internal static Tensor Lend(long[] shape, IDisposable memory, nint address) => DeferredGraph.Current!.Lend(shape, memory, address);

    private static DeferredNode? Node(Tensor tensor) => TensorInternals.Handle(tensor) == 0 ? DeferredGraph.Current?.Find(tensor) : null;
}
