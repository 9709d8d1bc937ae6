using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>A tensor as ops that move no element show it.</summary>
/// <param name="Base">Whose memory it is; the first element is the same.</param>
/// <param name="Shape">Its shape.</param>
/// <param name="Strides">The distances between elements along each axis.</param>
internal sealed record StridedTensor(Tensor Base, long[] Shape, long[] Strides)
{
    /// <summary>A tensor as it is.</summary>
    internal static StridedTensor Of(Tensor tensor, long[] shape)
    {
        long[] strides = new long[shape.Length];
        for (int axis = 0; axis < strides.Length; axis++)
            strides[axis] = tensor.stride(axis);
        return new(tensor, shape, strides);
    }

    /// <summary>A contiguous tensor in another shape.</summary>
    internal static StridedTensor RowMajor(Tensor tensor, long[] shape)
    {
        long[] strides = new long[shape.Length];
        long stride = 1;
        for (int axis = shape.Length - 1; axis >= 0; stride *= shape[axis--])
            strides[axis] = stride;
        return new(tensor, shape, strides);
    }

    /// <summary>Two axes exchanged.</summary>
    internal StridedTensor Exchanged(int a, int b)
    {
        long[] shape = [.. Shape], strides = [.. Strides];
        (shape[a], shape[b], strides[a], strides[b]) = (shape[b], shape[a], strides[b], strides[a]);
        return new(Base, shape, strides);
    }

    /// <summary>Axes of length 1 repeated to a shape of as many axes, whose last is the same; null where it does not fit.</summary>
    internal StridedTensor? Repeated(long[] shape)
    {
        if (Shape.Length != shape.Length || Shape[^1] != shape[^1])
            return null;
        long[] strides = [.. Strides];
        for (int axis = 0; axis < shape.Length - 1; axis++)
        {
            if (Shape[axis] == 1)
                strides[axis] = 0;
            else if (Shape[axis] != shape[axis])
                return null;
        }

        return new(Base, shape, strides);
    }
}
