using QwixSharp.Interception.Deferred;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Fusion;

/// <summary>Where the elements of a tensor lie in the memory of another one that has its value: what deferred views come to.</summary>
/// <param name="Memory">The tensor that has the memory.</param>
/// <param name="Offset">Of the first element, in elements.</param>
/// <param name="Shape">The shape of the view.</param>
/// <param name="Strides">The distances along its axes, in elements.</param>
internal readonly record struct StridedView(Tensor Memory, long Offset, long[] Shape, long[] Strides)
{
    /// <summary>Whether the elements lie without gaps in row-major order.</summary>
    internal bool IsContiguous
    {
        get
        {
            var expected = 1L;
            for (int axis = Shape.Length - 1; axis >= 0; axis--)
            {
                if (Shape[axis] != 1 && Strides[axis] != expected)
                    return false;
                expected *= Shape[axis];
            }

            return true;
        }
    }

    /// <summary>The view that an input is; what is no view is computed.</summary>
    internal static StridedView Of(NodeInput input, DeferredGraph graph)
    {
        switch (input.Node)
        {
            case { Kind: OpKind.Transpose } node:
                var source = Of(input[0], graph);
                long[] strides = [.. source.Strides];
                (strides[node.Axis], strides[(int)node.Start]) = (strides[(int)node.Start], strides[node.Axis]);
                return source with { Shape = node.Shape, Strides = strides };
            case { Kind: OpKind.Part } node:
                var whole = Of(input[0], graph);
                return whole with { Shape = node.Shape, Offset = whole.Offset + (node.Start * whole.Strides[node.Axis]) };
            case { Kind: OpKind.Reshape } node when Of(input[0], graph) is { IsContiguous: true } flat:
                return flat with { Shape = node.Shape, Strides = RowMajor(node.Shape) };
            default:
                var tensor = input.Value(graph);
                long[] shape = input.Shape(graph), distances = new long[shape.Length];
                for (int axis = 0; axis < shape.Length; axis++)
                    distances[axis] = tensor.stride(axis);
                return new(tensor, 0, shape, distances);
        }
    }

    private static long[] RowMajor(long[] shape)
    {
        long[] strides = new long[shape.Length];
        var stride = 1L;
        for (int axis = shape.Length - 1; axis >= 0; axis--)
        {
            strides[axis] = stride;
            stride *= shape[axis];
        }

        return strides;
    }
}
