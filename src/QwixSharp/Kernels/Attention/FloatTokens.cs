using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace QwixSharp.Kernels.Attention;

/// <summary>Keys and values of float32 in tensors [batch, heads, tokens, features], which may lie with gaps between tokens and heads.</summary>
/// <param name="keys">The keys.</param>
/// <param name="values">The values.</param>
/// <param name="batch">The sequences.</param>
/// <param name="heads">The heads of one sequence.</param>
/// <param name="headSize">The features; a multiple of <see cref="BlockProduct.Columns"/>.</param>
internal sealed unsafe class FloatTokens(HeadTensor keys, HeadTensor values, int batch, int heads, int headSize) : AttentionSource
{
    /// <summary>For more rows of queries it pays to turn a block of keys around.</summary>
    private const int MostDots = BlockProduct.Rows;

    /// <inheritdoc/>
    public override int HeadSize => headSize;

    /// <inheritdoc/>
    public override int Heads => batch * heads;

    /// <inheritdoc/>
    public override float* KeyScales(int head, int token) => null;

    /// <inheritdoc/>
    public override float* ValueScales(int head, int token) => null;

    /// <inheritdoc/>
    public override void Scores(int head, int token, int used, float* queries, int rows, float* scratch, float* scores)
    {
        var from = At(keys, head, token);
        if (rows <= MostDots)
        {
            Dots(from, keys.Token, used, queries, headSize, scores);
            return;
        }
        Turn(from, keys.Token, used, headSize, scratch);
        BlockProduct.Multiply(queries, headSize, scratch, BlockTokens, scores, rows, BlockTokens, headSize, adds: false);
    }

    /// <inheritdoc/>
    public override void AddValues(int head, int token, int used, float* weights, int rows, float* scratch, float* sums, int columns) =>
        BlockProduct.Multiply(weights, BlockTokens, At(values, head, token), (nint)values.Token, sums, rows, columns, used, adds: true);

    private float* At(HeadTensor tensor, int head, int token) => tensor.At(head / heads, head % heads) + token * tensor.Token;

    /// <summary>Products of four rows of queries with keys, a key at a time.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Dots(float* key, long stride, int count, float* queries, int size, float* scores)
    {
        float* q0 = queries, q1 = q0 + size, q2 = q1 + size, q3 = q2 + size;
        for (var token = 0; token < count; token++, key += stride)
        {
            Vector256<float> a0 = default, a1 = default, a2 = default, a3 = default;
            for (nint i = 0; i < size; i += 8)
            {
                var k = Vector256.Load(key + i);
                a0 = Vector256.FusedMultiplyAdd(Vector256.Load(q0 + i), k, a0);
                a1 = Vector256.FusedMultiplyAdd(Vector256.Load(q1 + i), k, a1);
                a2 = Vector256.FusedMultiplyAdd(Vector256.Load(q2 + i), k, a2);
                a3 = Vector256.FusedMultiplyAdd(Vector256.Load(q3 + i), k, a3);
            }
            scores[token] = Vector256.Sum(a0);
            scores[BlockTokens + token] = Vector256.Sum(a1);
            scores[2 * BlockTokens + token] = Vector256.Sum(a2);
            scores[3 * BlockTokens + token] = Vector256.Sum(a3);
        }
    }

    /// <summary>Keys [count][size] to [size][<see cref="AttentionSource.BlockTokens"/>].</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Turn(float* key, long stride, int count, int size, float* turned)
    {
        var token = 0;
        if (Sse.IsSupported)
            for (; token + 4 <= count; token += 4, key += 4 * stride)
                for (nint i = 0; i < size; i += 4)
                    TurnFour(key + i, stride, turned + i * BlockTokens + token);
        for (; token < count; token++, key += stride)
            for (nint i = 0; i < size; i++)
                turned[i * BlockTokens + token] = key[i];
    }

    /// <summary>Four features of four keys.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void TurnFour(float* key, long stride, float* turned)
    {
        Vector128<float> k0 = Vector128.Load(key), k1 = Vector128.Load(key + stride), k2 = Vector128.Load(key + 2 * stride), k3 = Vector128.Load(key + 3 * stride);
        Vector128<float> low01 = Sse.UnpackLow(k0, k1), low23 = Sse.UnpackLow(k2, k3), high01 = Sse.UnpackHigh(k0, k1), high23 = Sse.UnpackHigh(k2, k3);
        Sse.MoveLowToHigh(low01, low23).Store(turned);
        Sse.MoveHighToLow(low23, low01).Store(turned + BlockTokens);
        Sse.MoveLowToHigh(high01, high23).Store(turned + 2 * BlockTokens);
        Sse.MoveHighToLow(high23, high01).Store(turned + 3 * BlockTokens);
    }
}
