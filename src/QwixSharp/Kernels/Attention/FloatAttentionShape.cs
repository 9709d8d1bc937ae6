namespace QwixSharp.Kernels.Attention;

/// <summary>Where an operand [batch, heads, tokens, size] of attention lies: the distances between its elements, whose last axis has no gaps.</summary>
/// <param name="Data">The first element.</param>
/// <param name="Batch">From one batch to the next.</param>
/// <param name="Head">From one head to the next.</param>
/// <param name="Token">From one token to the next.</param>
internal readonly record struct HeadTensor(nint Data, long Batch, long Head, long Token)
{
    /// <summary>The first element of a head.</summary>
    public unsafe float* At(long batch, long head) => (float*)Data + batch * Batch + head * Head;
}

/// <summary>The sizes of attention.</summary>
/// <param name="Batch">Batches.</param>
/// <param name="Heads">Heads.</param>
/// <param name="Queries">Queries of a head.</param>
/// <param name="Keys">Keys and values of a head.</param>
/// <param name="Size">Elements of a query and a key.</param>
/// <param name="ValueSize">Elements of a value; a multiple of <see cref="FloatAttention.ValueGroup"/>.</param>
internal readonly record struct FloatAttentionShape(int Batch, int Heads, int Queries, int Keys, int Size, int ValueSize);
