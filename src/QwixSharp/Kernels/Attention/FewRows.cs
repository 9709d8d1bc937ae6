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
    public static void Scores(sbyte* keys, float* queries, int size, float* scores) =>
        Multiply<sbyte, Codes>(keys, Tokens, size, queries, size, scores, Tokens, adds: false);

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
        Multiply<sbyte, Codes>(values, size, count, weights, Tokens, sums, size, adds: true);

    /// <summary>sums += weights · values, of float32 values that lie [token][feature].</summary>
    /// <param name="values">Those of the first token.</param>
    /// <param name="stride">From one token to the next, in elements.</param>
    /// <param name="count">How many tokens.</param>
    /// <param name="weights">[rows, <see cref="AttentionSource.BlockTokens"/>].</param>
    /// <param name="sums">[rows, features].</param>
    /// <param name="size">The features.</param>
    public static void AddValues(float* values, long stride, int count, float* weights, float* sums, int size) =>
        Multiply<float, Floats>(values, stride, count, weights, Tokens, sums, size, adds: true);

    /// <summary>The product of four rows and a matrix of <paramref name="depth"/> rows, or its sum with what is there.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Multiply<T, TLoad>(T* matrix, long stride, int depth, float* rows, int rowStride, float* sums, int columns, bool adds)
        where T : unmanaged
        where TLoad : ILoad<T>
    {
        float* r0 = rows, r1 = r0 + rowStride, r2 = r1 + rowStride, r3 = r2 + rowStride;
        for (nint column = 0; column < columns; column += Columns)
        {
            float* s0 = sums + column, s1 = s0 + columns, s2 = s1 + columns, s3 = s2 + columns;
            Vector512<float> a0 = default, a1 = default, a2 = default, a3 = default, b0 = default, b1 = default, b2 = default, b3 = default;
            if (adds)
            {
                (a0, a1, a2, a3) = (Vector512.Load(s0), Vector512.Load(s1), Vector512.Load(s2), Vector512.Load(s3));
                (b0, b1, b2, b3) = (Vector512.Load(s0 + 16), Vector512.Load(s1 + 16), Vector512.Load(s2 + 16), Vector512.Load(s3 + 16));
            }
            var from = matrix + column;
            for (nint k = 0; k < depth; k++, from += stride)
            {
                Vector512<float> left = TLoad.Load(from), right = TLoad.Load(from + 16);
                var r = Vector512.Create(r0[k]);
                a0 = Avx512F.FusedMultiplyAdd(r, left, a0);
                b0 = Avx512F.FusedMultiplyAdd(r, right, b0);
                r = Vector512.Create(r1[k]);
                a1 = Avx512F.FusedMultiplyAdd(r, left, a1);
                b1 = Avx512F.FusedMultiplyAdd(r, right, b1);
                r = Vector512.Create(r2[k]);
                a2 = Avx512F.FusedMultiplyAdd(r, left, a2);
                b2 = Avx512F.FusedMultiplyAdd(r, right, b2);
                r = Vector512.Create(r3[k]);
                a3 = Avx512F.FusedMultiplyAdd(r, left, a3);
                b3 = Avx512F.FusedMultiplyAdd(r, right, b3);
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
