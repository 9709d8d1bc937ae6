using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace QwixSharp.Kernels.Attention;

/// <summary>
/// Products of four rows of queries with a block of keys and values as they lie, as when a text is continued token by token: each
/// vector of keys or values is read once, and nothing is written but the results.
/// </summary>
internal static unsafe class FewRows
{
    /// <summary>The rows.</summary>
    public const int Rows = 4;

    /// <summary>The number of features is a multiple of this.</summary>
    public const int Columns = 32;

    private const int Tokens = AttentionSource.BlockTokens;

    /// <summary>Whether products of so many rows and features can be computed here.</summary>
    /// <param name="rows">Rows of queries.</param>
    /// <param name="size">The features of a head.</param>
    public static bool CanMultiply(int rows, int size) => Avx512F.IsSupported && rows == Rows && size % Columns == 0;

    /// <summary>The products of queries with a block of keys that lies [feature][token].</summary>
    /// <param name="keys">The codes.</param>
    /// <param name="queries">[rows, features].</param>
    /// <param name="size">The features.</param>
    /// <param name="scores">[rows, tokens]; the result.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Scores(sbyte* keys, float* queries, int size, float* scores)
    {
        float* q0 = queries, q1 = q0 + size, q2 = q1 + size, q3 = q2 + size;
        Vector512<float> a0 = default, a1 = default, a2 = default, a3 = default, b0 = default, b1 = default, b2 = default, b3 = default;
        for (nint i = 0; i < size; i++, keys += Tokens)
        {
            Vector512<float> left = Codes.Load(keys), right = Codes.Load(keys + 16);
            var q = Vector512.Create(q0[i]);
            a0 = Avx512F.FusedMultiplyAdd(q, left, a0);
            b0 = Avx512F.FusedMultiplyAdd(q, right, b0);
            q = Vector512.Create(q1[i]);
            a1 = Avx512F.FusedMultiplyAdd(q, left, a1);
            b1 = Avx512F.FusedMultiplyAdd(q, right, b1);
            q = Vector512.Create(q2[i]);
            a2 = Avx512F.FusedMultiplyAdd(q, left, a2);
            b2 = Avx512F.FusedMultiplyAdd(q, right, b2);
            q = Vector512.Create(q3[i]);
            a3 = Avx512F.FusedMultiplyAdd(q, left, a3);
            b3 = Avx512F.FusedMultiplyAdd(q, right, b3);
        }
        a0.Store(scores);
        b0.Store(scores + 16);
        a1.Store(scores + Tokens);
        b1.Store(scores + Tokens + 16);
        a2.Store(scores + 2 * Tokens);
        b2.Store(scores + 2 * Tokens + 16);
        a3.Store(scores + 3 * Tokens);
        b3.Store(scores + 3 * Tokens + 16);
    }

    /// <summary>The products of queries with keys of float32 that lie [token][feature].</summary>
    /// <param name="key">The first key.</param>
    /// <param name="stride">From one key to the next, in elements.</param>
    /// <param name="count">How many keys.</param>
    /// <param name="queries">[rows, features].</param>
    /// <param name="size">The features.</param>
    /// <param name="scores">[rows, <see cref="AttentionSource.BlockTokens"/>]; the result.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Scores(float* key, long stride, int count, float* queries, int size, float* scores)
    {
        float* q0 = queries, q1 = q0 + size, q2 = q1 + size, q3 = q2 + size;
        for (var token = 0; token < count; token++, key += stride)
        {
            Vector512<float> a0 = default, a1 = default, a2 = default, a3 = default;
            for (nint i = 0; i < size; i += 16)
            {
                var k = Vector512.Load(key + i);
                a0 = Avx512F.FusedMultiplyAdd(k, Vector512.Load(q0 + i), a0);
                a1 = Avx512F.FusedMultiplyAdd(k, Vector512.Load(q1 + i), a1);
                a2 = Avx512F.FusedMultiplyAdd(k, Vector512.Load(q2 + i), a2);
                a3 = Avx512F.FusedMultiplyAdd(k, Vector512.Load(q3 + i), a3);
            }
            // The four sums at once.
            var sums = Avx.HorizontalAdd(Avx.HorizontalAdd(Half(a0), Half(a1)), Avx.HorizontalAdd(Half(a2), Half(a3)));
            var score = sums.GetLower() + sums.GetUpper();
            (scores[token], scores[Tokens + token], scores[2 * Tokens + token], scores[3 * Tokens + token]) = (score[0], score[1], score[2], score[3]);
        }

        static Vector256<float> Half(Vector512<float> whole) => whole.GetLower() + whole.GetUpper();
    }

    /// <summary>sums += weights · values, of codes that lie [token][feature] without gaps.</summary>
    /// <param name="values">The codes of the first token.</param>
    /// <param name="count">How many tokens.</param>
    /// <param name="weights">[rows, <see cref="AttentionSource.BlockTokens"/>].</param>
    /// <param name="sums">[rows, features].</param>
    /// <param name="size">The features.</param>
    public static void AddValues(sbyte* values, int count, float* weights, float* sums, int size) =>
        AddValues<sbyte, Codes>(values, size, count, weights, sums, size);

    /// <summary>sums += weights · values, of float32 values that lie [token][feature].</summary>
    /// <param name="values">Those of the first token.</param>
    /// <param name="stride">From one token to the next, in elements.</param>
    /// <param name="count">How many tokens.</param>
    /// <param name="weights">[rows, <see cref="AttentionSource.BlockTokens"/>].</param>
    /// <param name="sums">[rows, features].</param>
    /// <param name="size">The features.</param>
    public static void AddValues(float* values, long stride, int count, float* weights, float* sums, int size) =>
        AddValues<float, Floats>(values, stride, count, weights, sums, size);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AddValues<T, TLoad>(T* values, long stride, int count, float* weights, float* sums, int size)
        where T : unmanaged
        where TLoad : ILoad<T>
    {
        float* w0 = weights, w1 = w0 + Tokens, w2 = w1 + Tokens, w3 = w2 + Tokens;
        for (nint column = 0; column < size; column += Columns)
        {
            float* s0 = sums + column, s1 = s0 + size, s2 = s1 + size, s3 = s2 + size;
            Vector512<float> a0 = Vector512.Load(s0), a1 = Vector512.Load(s1), a2 = Vector512.Load(s2), a3 = Vector512.Load(s3);
            Vector512<float> b0 = Vector512.Load(s0 + 16), b1 = Vector512.Load(s1 + 16), b2 = Vector512.Load(s2 + 16), b3 = Vector512.Load(s3 + 16);
            var value = values + column;
            for (nint token = 0; token < count; token++, value += stride)
            {
                Vector512<float> left = TLoad.Load(value), right = TLoad.Load(value + 16);
                var w = Vector512.Create(w0[token]);
                a0 = Avx512F.FusedMultiplyAdd(w, left, a0);
                b0 = Avx512F.FusedMultiplyAdd(w, right, b0);
                w = Vector512.Create(w1[token]);
                a1 = Avx512F.FusedMultiplyAdd(w, left, a1);
                b1 = Avx512F.FusedMultiplyAdd(w, right, b1);
                w = Vector512.Create(w2[token]);
                a2 = Avx512F.FusedMultiplyAdd(w, left, a2);
                b2 = Avx512F.FusedMultiplyAdd(w, right, b2);
                w = Vector512.Create(w3[token]);
                a3 = Avx512F.FusedMultiplyAdd(w, left, a3);
                b3 = Avx512F.FusedMultiplyAdd(w, right, b3);
            }
            a0.Store(s0);
            b0.Store(s0 + 16);
            a1.Store(s1);
            b1.Store(s1 + 16);
            a2.Store(s2);
            b2.Store(s2 + 16);
            a3.Store(s3);
            b3.Store(s3 + 16);
        }
    }

    private interface ILoad<T> where T : unmanaged
    {
        static abstract Vector512<float> Load(T* from);
    }

    private readonly struct Codes : ILoad<sbyte>
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector512<float> Load(sbyte* from) => Avx512F.ConvertToVector512Single(Avx512F.ConvertToVector512Int32(Vector128.Load(from)));
    }

    private readonly struct Floats : ILoad<float>
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static Vector512<float> Load(float* from) => Vector512.Load(from);
    }
}
