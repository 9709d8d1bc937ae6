using QwixSharp.Kernels.Attention;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>Scaled dot-product attention in one pass over float32 tensors on the CPU, without gradients.</summary>
internal static class AttentionOp
{
    /// <summary>softmax(q · kᵀ ÷ √size) · v, where neighbouring heads of queries may share a head of keys and values.</summary>
    /// <param name="queries">[batch, heads, tokens, size].</param>
    /// <param name="keys">[batch, key heads, all tokens, size]; its heads divide those of the queries.</param>
    /// <param name="values">Of the shape of the keys.</param>
    /// <param name="isCausal">Whether a query sees only the tokens up to its own; there are as many queries as keys then.</param>
    /// <returns>[batch, tokens, heads, size], contiguous, the caller's; null where operands have gaps in their last axis, or an odd size.</returns>
    internal static Tensor? TryCompute(StridedTensor queries, StridedTensor keys, StridedTensor values, bool isCausal)
    {
        if (queries.Shape is not [var batch, var heads, var tokens, var size] || keys.Shape is not [_, var keyHeads, var all, _])
            return null;
        if (size % BlockProduct.Columns != 0 || queries.Strides[3] != 1 || keys.Strides[3] != 1 || values.Strides[3] != 1)
            return null;
        var result = empty([batch, tokens, heads, size], dtype: ScalarType.Float32);
        var source = new FloatTokens(Heads(keys), Heads(values), (int)batch, (int)keyHeads, (int)size);
        int[] lengths = new int[batch];
        Array.Fill(lengths, (int)all);
        var shape = new AttentionShape((int)keyHeads, (int)heads, (int)tokens, (float)(1 / Math.Sqrt(size)), isCausal);
        BlockAttention.Run(source, lengths, shape, Heads(queries), Heads(StridedTensor.Of(result).Exchanged(1, 2)), get_num_threads());
        return result;
    }

    private static HeadTensor Heads(StridedTensor tensor) => new(tensor.Address, tensor.Strides[0], tensor.Strides[1], tensor.Strides[2]);
}
