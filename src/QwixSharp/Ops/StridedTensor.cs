using QwixSharp.Arrays;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>A float32 tensor as ops that move no element show it: where its elements lie in the memory of another one.</summary>
/// <param name="Base">Whose memory it is; null where that is no tensor's.</param>
/// <param name="Offset">Of the first element, in elements.</param>
/// <param name="Shape">Its shape.</param>
/// <param name="Strides">The distances along its axes, in elements.</param>
internal sealed record StridedTensor(Tensor? Base, long Offset, long[] Shape, long[] Strides)
{
    /// <summary>Where the first element is.</summary>
    internal nint Address => (Base is null ? Memory : TensorMemory.Address(Base)) + (nint)(Offset * sizeof(float));

    /// <summary>The memory, where it is no tensor's.</summary>
    internal nint Memory { get; private init; }

    /// <summary>How many elements there are.</summary>
    internal long Count
    {
        get
        {
            long count = 1;
            foreach (long length in Shape)
                count *= length;
            return count;
        }
    }

    /// <summary>Whether the elements lie without gaps in row-major order.</summary>
    internal bool IsContiguous
    {
        get
        {
            long expected = 1;
            for (int axis = Shape.Length - 1; axis >= 0; axis--)
            {
                if (Shape[axis] != 1 && Strides[axis] != expected)
                    return false;
                expected *= Shape[axis];
            }

            return true;
        }
    }

    /// <summary>The addresses between which the elements lie.</summary>
    private (nint From, nint To) Extent
    {
        get
        {
            long elements = Count == 0 ? 0 : 1;
            for (int axis = 0; axis < Shape.Length && elements > 0; axis++)
                elements += (Shape[axis] - 1) * Strides[axis];
            return (Address, Address + (nint)(elements * sizeof(float)));
        }
    }

    /// <summary>Whether elements of this one and another may lie in the same memory.</summary>
    internal bool Overlaps(StridedTensor other) => Extent is var (from, to) && other.Extent is var (otherFrom, otherTo) && from < otherTo && otherFrom < to;

    /// <summary>Copies the elements over those of a tensor of the same shape that <see cref="Overlaps">lies elsewhere</see>.</summary>
    internal unsafe void CopyTo(StridedTensor target)
    {
        Copy((float*)Address, (float*)target.Address, 0);
        GC.KeepAlive(this);
        GC.KeepAlive(target);

        void Copy(float* from, float* to, int axis)
        {
            if (axis == Shape.Length)
            {
                *to = *from;
                return;
            }

            long length = Shape[axis], step = Strides[axis], targetStep = target.Strides[axis];
            if (axis == Shape.Length - 1 && step == 1 && targetStep == 1)
            {
                Buffer.MemoryCopy(from, to, length * sizeof(float), length * sizeof(float));
                return;
            }

            for (long i = 0; i < length; i++)
                Copy(from + (i * step), to + (i * targetStep), axis + 1);
        }
    }

    /// <summary>A tensor as it is.</summary>
    internal static StridedTensor Of(Tensor tensor)
    {
        // The sizes one by one: asking for the shape goes through a callback, which takes twenty times as long.
        long[] shape = new long[tensor.dim()];
        for (int axis = 0; axis < shape.Length; axis++)
            shape[axis] = tensor.size(axis);
        return Of(tensor, shape);
    }

    /// <summary>A tensor as it is, whose shape is known.</summary>
    internal static StridedTensor Of(Tensor tensor, long[] shape)
    {
        long[] strides = new long[shape.Length];
        for (int axis = 0; axis < strides.Length; axis++)
            strides[axis] = tensor.stride(axis);
        return new(tensor, 0, shape, strides);
    }

    /// <summary>Elements that lie without gaps in memory that is no tensor's.</summary>
    internal static StridedTensor Of(nint memory, long[] shape) => new(null, 0, shape, RowMajor(shape)) { Memory = memory };

    /// <summary>Another shape of what <see cref="IsContiguous">lies without gaps</see>.</summary>
    internal StridedTensor Reshaped(long[] shape) => this with { Shape = shape, Strides = RowMajor(shape) };

    /// <summary>A part along an axis.</summary>
    internal StridedTensor Part(int axis, long start, long[] shape) => this with { Offset = Offset + (start * Strides[axis]), Shape = shape };

    /// <summary>Two axes exchanged.</summary>
    internal StridedTensor Exchanged(int a, int b)
    {
        long[] shape = [.. Shape], strides = [.. Strides];
        (shape[a], shape[b], strides[a], strides[b]) = (shape[b], shape[a], strides[b], strides[a]);
        return this with { Shape = shape, Strides = strides };
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

        return this with { Shape = shape, Strides = strides };
    }

    private static long[] RowMajor(long[] shape)
    {
        long[] strides = new long[shape.Length];
        long stride = 1;
        for (int axis = shape.Length - 1; axis >= 0; stride *= shape[axis--])
            strides[axis] = stride;
        return strides;
    }
}
