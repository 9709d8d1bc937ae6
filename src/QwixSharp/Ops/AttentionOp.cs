using QwixSharp.Kernels.Attention;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>Scaled dot-product attention in one pass over float32 tensors on the CPU, without gradients.</summary>
internal static class AttentionOp
{
    /// <summary>Whether <see cref="Compute"/> can read operands: none may have gaps in its last axis, whose length is a multiple of 16.</summary>
    internal static bool CanCompute(StridedTensor queries, StridedTensor keys, StridedTensor values) =>
        queries.Shape[3] % BlockProduct.Columns == 0 && queries.Strides[3] == 1 && keys.Strides[3] == 1 && values.Strides[3] == 1;

    /// <summary>softmax(q · kᵀ ÷ √size) · v, where neighbouring heads of queries may share a head of keys and values.</summary>
    /// <param name="queries">[batch, heads, tokens, size].</param>
    /// <param name="keys">[batch, key heads, all tokens, size]; its heads divide those of the queries.</param>
    /// <param name="values">Of the shape of the keys.</param>
    /// <param name="isCausal">Whether a query sees only the tokens up to its own; there are as many queries as keys then.</param>
    /// <param name="result">Of the shape of the queries; written.</param>
    /// <param name="strides">Where [batch, heads, tokens, size] lie in it.</param>
    internal static void Compute(StridedTensor queries, StridedTensor keys, StridedTensor values, bool isCausal, nint result, long[] strides)
    {
        var sequences = (int)queries.Shape[0];
        var size = (int)queries.Shape[3];
        var source = new FloatTokens(Heads(keys), Heads(values), sequences, (int)keys.Shape[1], size);
        int[] lengths = new int[sequences];
        Array.Fill(lengths, (int)keys.Shape[2]);
        var shape = new AttentionShape((int)keys.Shape[1], (int)queries.Shape[1], (int)queries.Shape[2], (float)(1 / Math.Sqrt(size)), isCausal);
        BlockAttention.Run(source, lengths, shape, Heads(queries), new HeadTensor(result, strides[0], strides[1], strides[2]), get_num_threads());
        GC.KeepAlive(queries);
        GC.KeepAlive(keys);
        GC.KeepAlive(values);
    }

    private static HeadTensor Heads(StridedTensor tensor) => new(tensor.Address, tensor.Strides[0], tensor.Strides[1], tensor.Strides[2]);
}
