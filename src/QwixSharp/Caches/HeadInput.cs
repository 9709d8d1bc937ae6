using QwixSharp.Arrays;
using QwixSharp.Interception.Deferred;
using QwixSharp.Kernels.Attention;
using static TorchSharp.torch;

namespace QwixSharp.Caches;

/// <summary>Queries, keys or values [batch, heads, tokens, head size] as float32, where they lie; of a model's copied code they may wait for their values.</summary>
/// <param name="tensor">The tensor, on the CPU.</param>
internal sealed class HeadInput(Tensor tensor) : IDisposable
{
    private Tensor? _copy;

    /// <summary>Whether the tensor came without a value.</summary>
    internal bool Waits { get; } = DeferredValues.ShapeOf(tensor) is not null;

    /// <summary>Where the elements are; those of a head's features lie side by side. It is true until anything else that waits is computed.</summary>
    internal HeadTensor Locate()
    {
        Span<long> strides = stackalloc long[4];
        if (DeferredValues.ShapeOf(tensor) is not null)
        {
            nint address = DeferredValues.Locate(tensor, strides);
            if (strides[3] == 1)
                return new HeadTensor(address, strides[0], strides[1], strides[2]);
            DeferredValues.Concrete(tensor);
        }

        _copy ??= Copy();
        var source = _copy ?? tensor;
        return new HeadTensor(TensorMemory.Address(source), source.stride(0), source.stride(1), source.stride(2));
    }

    /// <summary>A copy as float32 whose features have no gaps; null where the tensor is that itself.</summary>
    private Tensor? Copy()
    {
        if (tensor.dtype == ScalarType.Float32 && tensor.stride(3) == 1)
            return null;
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        return tensor.to(ScalarType.Float32).contiguous().DetachFromDisposeScope();
    }

    /// <inheritdoc/>
    public void Dispose() => _copy?.Dispose();
}
