using QwixSharp.Arrays;
using QwixSharp.Interception.Deferred;
using QwixSharp.Kernels.Attention;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Fusion;

/// <summary>
/// softmax(q · kᵀ · number + bias, last axis) · v with heads on the second axis; also where the result's heads are brought side
/// by side, as [batch, queries, heads · size].
/// </summary>
internal static class AttentionPattern
{
    /// <summary>The attention that a product or its rearrangement is, or null.</summary>
    internal static Tensor? TryCompute(DeferredNode node, DeferredGraph graph)
    {
        if (node.Kind == OpKind.MatMul)
            return node.Shape.Length == 4 ? Compute(node, node.Shape, Contiguous(node.Shape), graph) : null;
        if (node.Source(0) is not { Kind: OpKind.Transpose } transpose || transpose.Source(0) is not { Kind: OpKind.MatMul, Shape: [var batch, var heads, var queries, var size] } product)
            return null;
        var bringsHeadsTogether = (transpose.Axis, transpose.Start) is (1, 2) or (2, 1) && node.Shape.AsSpan().SequenceEqual([batch, queries, heads * size]);
        return bringsHeadsTogether ? Compute(product, node.Shape, [queries * heads * size, size, heads * size, 1], graph) : null;
    }

    private static Tensor? Compute(DeferredNode product, long[] shape, long[] strides, DeferredGraph graph)
    {
        var weights = NodeInput.Of(product, 0);
        if (!FloatAttention.IsSupported || !weights.Is(OpKind.Softmax) || weights.Node!.Axis != 3 || Scores(weights[0]) is not var (scores, scale, bias))
            return null;
        long[] left = scores.Node!.Shape;
        long keys = left[3], size = scores[0].Shape(graph)[3], valueSize = product.Shape[3];
        if (keys is 0 or > FloatAttention.MostKeys || size is 0 or > 512 || valueSize == 0 || valueSize % FloatAttention.ValueGroup != 0 || left[0] * left[1] * left[2] is 0 or > int.MaxValue)
            return null;
        HeadView q = HeadView.Of(scores[0], graph), transposed = HeadView.Of(scores[1], graph), v = HeadView.Of(NodeInput.Of(product, 1), graph);
        var k = transposed.Exchanged(2, 3);
        if (q.Strides[3] != 1 || k.Strides[3] != 1 || v.Strides[3] != 1 || Broadcast(bias, left, graph) is not { } added)
            return null;
        var result = empty(shape, dtype: ScalarType.Float32);
        FloatAttention.Run(
            new FloatAttentionShape((int)left[0], (int)left[1], (int)left[2], (int)keys, (int)size, (int)valueSize),
            q.Heads, k.Heads, v.Heads, added, scale, new HeadTensor(TensorMemory.Address(result), strides[0], strides[1], strides[2]), get_num_threads());
        return result;
    }

    /// <summary>The product of queries and keys, what it is multiplied by, and what is added.</summary>
    private static (NodeInput Product, float Scale, NodeInput? Bias)? Scores(NodeInput input)
    {
        NodeInput? bias = null;
        if (input.IsOfTensors(OpKind.Add))
        {
            bias = Scaled(input[0]) is null ? input[0] : input[1];
            input = Scaled(input[0]) is null ? input[1] : input[0];
        }

        return Scaled(input) is var (product, scale) ? (product, scale, bias) : null;
    }

    private static (NodeInput Product, float Scale)? Scaled(NodeInput input)
    {
        double scale = 1;
        if (input.IsWithNumber(OpKind.Multiply) || (input.IsWithNumber(OpKind.Divide) && input.Node!.Axis == 0))
        {
            scale = input.Is(OpKind.Multiply) ? input.Node!.Number : 1 / input.Node!.Number;
            input = input[0];
        }

        return input.Is(OpKind.MatMul) ? (input, (float)scale) : null;
    }

    /// <summary>Where the bias of each head and query lies; null where it does not fit.</summary>
    private static HeadTensor? Broadcast(NodeInput? bias, long[] shape, DeferredGraph graph)
    {
        if (bias is not { } input)
            return default(HeadTensor);
        var view = HeadView.Of(input, graph);
        if (view.Shape.Length != 4 || view.Shape[3] != shape[3] || (view.Strides[3] != 1 && shape[3] != 1))
            return null;
        for (int axis = 0; axis < 3; axis++)
        {
            if (view.Shape[axis] == 1)
                view.Strides[axis] = 0;
            else if (view.Shape[axis] != shape[axis])
                return null;
        }

        return view.Heads;
    }

    private static long[] Contiguous(long[] shape) => [shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3], 1];

    /// <summary>A tensor seen through ops that move no element.</summary>
    private sealed record HeadView(Tensor Base, long[] Shape, long[] Strides)
    {
        internal HeadTensor Heads => new(TensorMemory.Address(Base), Strides[0], Strides[1], Strides[2]);

        internal static HeadView Of(NodeInput input, DeferredGraph graph)
        {
            if (input.Is(OpKind.Transpose))
                return Of(input[0], graph).Exchanged(input.Node!.Axis, (int)input.Node.Start);
            if (input.Is(OpKind.Reshape) && input[0].Node is { IsContiguous: true, Kind: not OpKind.Reshape } source)
                return new(graph.Value(source), input.Node!.Shape, RowMajor(input.Node.Shape));
            var value = input.Value(graph);
            long[] strides = new long[value.dim()];
            for (int axis = 0; axis < strides.Length; axis++)
                strides[axis] = value.stride(axis);
            return new(value, input.Shape(graph), strides);
        }

        internal HeadView Exchanged(int a, int b)
        {
            long[] shape = [.. Shape], strides = [.. Strides];
            (shape[a], shape[b], strides[a], strides[b]) = (shape[b], shape[a], strides[b], strides[a]);
            return new(Base, shape, strides);
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
}
