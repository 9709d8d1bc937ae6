using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using QwixSharp.Kernels.Threading;

namespace QwixSharp.Kernels.Attention;

/// <summary>softmax(q · kᵀ · scale + bias) · v of float32, a head at a time, with scores that never leave the first-level cache.</summary>
internal sealed unsafe class FloatAttention : KernelJob
{
    /// <summary>Values are summed in groups of so many elements.</summary>
    public const int ValueGroup = 32;

    /// <summary>More keys would make scores and keys outgrow the second-level cache.</summary>
    public const int MostKeys = 2048;

    private const int RowsAtOnce = 4;
    private const int KeyGroup = 32;

    [ThreadStatic]
    private static FloatAttention? _cached;

    private readonly Workspace _workspace = new();
    private readonly WorkShares _shares = new();
    private FloatAttentionShape _shape;
    private HeadTensor _queries, _keys, _values, _bias, _result;
    private float _scale;
    private float* _memory;
    private long _threadSize;
    private int _paddedKeys;

    /// <summary>Whether this machine has the instructions.</summary>
    public static bool IsSupported => Avx512F.IsSupported;

    /// <summary>Computes attention.</summary>
    /// <param name="shape">The sizes.</param>
    /// <param name="queries">q.</param>
    /// <param name="keys">k.</param>
    /// <param name="values">v.</param>
    /// <param name="bias">[batch, heads, queries, keys], with distances of 0 where it repeats; or no data.</param>
    /// <param name="scale">What scores are multiplied by.</param>
    /// <param name="result">[batch, heads, queries, value size].</param>
    /// <param name="threads">How many threads take part.</param>
    public static void Run(FloatAttentionShape shape, HeadTensor queries, HeadTensor keys, HeadTensor values, HeadTensor bias, float scale, HeadTensor result, int threads)
    {
        var job = _cached ?? new FloatAttention();
        _cached = null;
        (job._shape, job._queries, job._keys, job._values, job._bias, job._result, job._scale) = (shape, queries, keys, values, bias, result, scale);
        job._paddedKeys = (shape.Keys + KeyGroup - 1) / KeyGroup * KeyGroup;
        job._threadSize = (long)job._paddedKeys * (shape.Size + RowsAtOnce) + 32;
        job._memory = (float*)job._workspace.Reserve(job._threadSize * threads * sizeof(float));
        job._shares.Begin(shape.Batch * shape.Heads, threads, 1);
        KernelPool.Shared.Run(job, threads);
        _cached = job;
    }

    /// <inheritdoc/>
    public override void Run(int worker)
    {
        var transposed = _memory + worker * _threadSize;
        var scores = transposed + (long)_paddedKeys * _shape.Size;
        while (_shares.Take(worker, out var unit, out _))
        {
            var (batch, head) = Math.DivRem(unit, _shape.Heads);
            Transpose(_keys.At(batch, head), transposed);
            for (var row = 0; row < _shape.Queries; row += RowsAtOnce)
                Rows(batch, head, row, transposed, scores);
        }
    }

    /// <summary>Keys [keys][size] to [size][keys], with zeros behind the last key.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Transpose(float* keys, float* target)
    {
        for (var i = 0; i < _shape.Size; i++, target += _paddedKeys)
        {
            var key = 0;
            for (; key < _shape.Keys; key++)
                target[key] = keys[key * _keys.Token + i];
            for (; key < _paddedKeys; key++)
                target[key] = 0;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Rows(int batch, int head, int first, float* keys, float* scores)
    {
        // Rows that do not exist repeat the last one.
        var last = _shape.Queries - 1;
        var query = _queries.At(batch, head);
        float* q0 = query + first * _queries.Token, q1 = query + Math.Min(first + 1, last) * _queries.Token;
        float* q2 = query + Math.Min(first + 2, last) * _queries.Token, q3 = query + Math.Min(first + 3, last) * _queries.Token;
        Scores(q0, q1, q2, q3, keys, scores);
        var inverses = stackalloc float[RowsAtOnce];
        for (var i = 0; i < RowsAtOnce; i++)
        {
            var bias = _bias.Data == 0 ? null : _bias.At(batch, head) + Math.Min(first + i, last) * _bias.Token;
            inverses[i] = 1 / Softmax(scores + i * _paddedKeys, bias);
        }
        var result = _result.At(batch, head) + first * _result.Token;
        Values(scores, _values.At(batch, head), inverses, result, Math.Min(RowsAtOnce, _shape.Queries - first));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Scores(float* q0, float* q1, float* q2, float* q3, float* keys, float* scores)
    {
        var (padded, size) = (_paddedKeys, _shape.Size);
        var scale = Vector512.Create(_scale);
        for (var key = 0; key < padded; key += KeyGroup)
        {
            Vector512<float> a0 = default, a1 = default, a2 = default, a3 = default, b0 = default, b1 = default, b2 = default, b3 = default;
            var k = keys + key;
            for (var i = 0; i < size; i++, k += padded)
            {
                Vector512<float> left = Vector512.Load(k), right = Vector512.Load(k + 16);
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
            var to = scores + key;
            (a0 * scale).Store(to);
            (b0 * scale).Store(to + 16);
            to += padded;
            (a1 * scale).Store(to);
            (b1 * scale).Store(to + 16);
            to += padded;
            (a2 * scale).Store(to);
            (b2 * scale).Store(to + 16);
            to += padded;
            (a3 * scale).Store(to);
            (b3 * scale).Store(to + 16);
        }
    }

    /// <summary>Scores become exponentials of their distance to the largest.</summary>
    /// <returns>Their sum.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private float Softmax(float* scores, float* bias)
    {
        var keys = _shape.Keys;
        for (var key = keys; key < _paddedKeys; key++)
            scores[key] = float.NegativeInfinity;
        var most = Vector512.Create(float.NegativeInfinity);
        var i = 0;
        if (bias != null)
        {
            for (; i + 16 <= keys; i += 16)
            {
                var score = Vector512.Load(scores + i) + Vector512.Load(bias + i);
                most = Avx512F.Max(most, score);
                score.Store(scores + i);
            }
            for (var rest = i; rest < keys; rest++)
                scores[rest] += bias[rest];
        }
        for (; i < _paddedKeys; i += 16)
            most = Avx512F.Max(most, Vector512.Load(scores + i));
        var half = Vector256.Max(most.GetLower(), most.GetUpper());
        var quarter = Vector128.Max(half.GetLower(), half.GetUpper());
        var largest = MathF.Max(MathF.Max(quarter[0], quarter[1]), MathF.Max(quarter[2], quarter[3]));
        var shift = Vector512.Create(largest);
        var sum = Vector512<float>.Zero;
        for (i = 0; i < _paddedKeys; i += 16)
        {
            var e = Exponential(Vector512.Load(scores + i) - shift);
            sum += e;
            e.Store(scores + i);
        }
        return Vector512.Sum(sum);
    }

    /// <summary>eˣ for x ≤ 0: 2ⁿ · e^(x − n ln 2), the second factor by its series to the seventh power. NaN stays NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Exponential(Vector512<float> x)
    {
        // Far below what becomes 0; of a NaN the instruction returns its second operand.
        x = Avx512F.Max(Vector512.Create(-1000f), x);
        var n = Avx512F.RoundScale(x * 1.44269504f, 0);
        var r = Avx512F.FusedMultiplyAddNegated(n, Vector512.Create(0.693359375f), x);
        r = Avx512F.FusedMultiplyAddNegated(n, Vector512.Create(-2.12194440e-4f), r);
        var p = Vector512.Create(1f / 5040);
        p = Avx512F.FusedMultiplyAdd(p, r, Vector512.Create(1f / 720));
        p = Avx512F.FusedMultiplyAdd(p, r, Vector512.Create(1f / 120));
        p = Avx512F.FusedMultiplyAdd(p, r, Vector512.Create(1f / 24));
        p = Avx512F.FusedMultiplyAdd(p, r, Vector512.Create(1f / 6));
        p = Avx512F.FusedMultiplyAdd(p, r, Vector512.Create(0.5f));
        p = Avx512F.FusedMultiplyAdd(p, r, Vector512<float>.One);
        p = Avx512F.FusedMultiplyAdd(p, r, Vector512<float>.One);
        return Avx512F.Scale(p, n);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Values(float* weights, float* values, float* inverses, float* result, int rows)
    {
        float* w0 = weights, w1 = w0 + _paddedKeys, w2 = w1 + _paddedKeys, w3 = w2 + _paddedKeys;
        var (keys, stride) = (_shape.Keys, _values.Token);
        var sums = stackalloc Vector512<float>[2 * RowsAtOnce];
        for (var column = 0; column < _shape.ValueSize; column += ValueGroup)
        {
            Vector512<float> a0 = default, a1 = default, a2 = default, a3 = default, b0 = default, b1 = default, b2 = default, b3 = default;
            var v = values + column;
            for (var key = 0; key < keys; key++, v += stride)
            {
                Vector512<float> left = Vector512.Load(v), right = Vector512.Load(v + 16);
                var w = Vector512.Create(w0[key]);
                a0 = Avx512F.FusedMultiplyAdd(w, left, a0);
                b0 = Avx512F.FusedMultiplyAdd(w, right, b0);
                w = Vector512.Create(w1[key]);
                a1 = Avx512F.FusedMultiplyAdd(w, left, a1);
                b1 = Avx512F.FusedMultiplyAdd(w, right, b1);
                w = Vector512.Create(w2[key]);
                a2 = Avx512F.FusedMultiplyAdd(w, left, a2);
                b2 = Avx512F.FusedMultiplyAdd(w, right, b2);
                w = Vector512.Create(w3[key]);
                a3 = Avx512F.FusedMultiplyAdd(w, left, a3);
                b3 = Avx512F.FusedMultiplyAdd(w, right, b3);
            }
            (sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], sums[6], sums[7]) = (a0, b0, a1, b1, a2, b2, a3, b3);
            for (var row = 0; row < rows; row++)
            {
                var to = result + row * _result.Token + column;
                (sums[2 * row] * inverses[row]).Store(to);
                (sums[2 * row + 1] * inverses[row]).Store(to + 16);
            }
        }
    }
}
