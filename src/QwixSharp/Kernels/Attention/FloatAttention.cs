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
    public static bool IsSupported => Avx2.IsSupported && Fma.IsSupported;

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
        if (Avx512F.IsSupported)
            Run<FloatVectors512, Vector512<float>>(worker);
        else
            Run<FloatVectors256, Vector256<float>>(worker);
    }

    private void Run<TVectors, TVector>(int worker)
        where TVectors : struct, IFloatVectors<TVector>
        where TVector : unmanaged
    {
        var transposed = _memory + worker * _threadSize;
        var scores = transposed + (long)_paddedKeys * _shape.Size;
        while (_shares.Take(worker, out var unit, out _))
        {
            var (batch, head) = Math.DivRem(unit, _shape.Heads);
            Transpose(_keys.At(batch, head), transposed);
            for (var row = 0; row < _shape.Queries; row += RowsAtOnce)
                Rows<TVectors, TVector>(batch, head, row, transposed, scores);
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
    private void Rows<TVectors, TVector>(int batch, int head, int first, float* keys, float* scores)
        where TVectors : struct, IFloatVectors<TVector>
        where TVector : unmanaged
    {
        // Rows that do not exist repeat the last one.
        var last = _shape.Queries - 1;
        var query = _queries.At(batch, head);
        float* q0 = query + first * _queries.Token, q1 = query + Math.Min(first + 1, last) * _queries.Token;
        float* q2 = query + Math.Min(first + 2, last) * _queries.Token, q3 = query + Math.Min(first + 3, last) * _queries.Token;
        Scores<TVectors, TVector>(q0, q1, q2, q3, keys, scores);
        var inverses = stackalloc float[RowsAtOnce];
        for (var i = 0; i < RowsAtOnce; i++)
        {
            var bias = _bias.Data == 0 ? null : _bias.At(batch, head) + Math.Min(first + i, last) * _bias.Token;
            inverses[i] = 1 / Softmax<TVectors, TVector>(scores + i * _paddedKeys, bias);
        }
        var result = _result.At(batch, head) + first * _result.Token;
        Values<TVectors, TVector>(scores, _values.At(batch, head), inverses, result, Math.Min(RowsAtOnce, _shape.Queries - first));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Scores<TVectors, TVector>(float* q0, float* q1, float* q2, float* q3, float* keys, float* scores)
        where TVectors : struct, IFloatVectors<TVector>
        where TVector : unmanaged
    {
        var (padded, size) = (_paddedKeys, _shape.Size);
        var scale = TVectors.Broadcast(_scale);
        for (var key = 0; key < padded; key += 2 * TVectors.Count)
        {
            TVector a0 = default, a1 = default, a2 = default, a3 = default, b0 = default, b1 = default, b2 = default, b3 = default;
            var k = keys + key;
            for (var i = 0; i < size; i++, k += padded)
            {
                TVector left = TVectors.Load(k), right = TVectors.Load(k + TVectors.Count);
                var q = TVectors.Broadcast(q0[i]);
                a0 = TVectors.MultiplyAdd(q, left, a0);
                b0 = TVectors.MultiplyAdd(q, right, b0);
                q = TVectors.Broadcast(q1[i]);
                a1 = TVectors.MultiplyAdd(q, left, a1);
                b1 = TVectors.MultiplyAdd(q, right, b1);
                q = TVectors.Broadcast(q2[i]);
                a2 = TVectors.MultiplyAdd(q, left, a2);
                b2 = TVectors.MultiplyAdd(q, right, b2);
                q = TVectors.Broadcast(q3[i]);
                a3 = TVectors.MultiplyAdd(q, left, a3);
                b3 = TVectors.MultiplyAdd(q, right, b3);
            }
            var to = scores + key;
            TVectors.Store(TVectors.Multiply(a0, scale), to);
            TVectors.Store(TVectors.Multiply(b0, scale), to + TVectors.Count);
            to += padded;
            TVectors.Store(TVectors.Multiply(a1, scale), to);
            TVectors.Store(TVectors.Multiply(b1, scale), to + TVectors.Count);
            to += padded;
            TVectors.Store(TVectors.Multiply(a2, scale), to);
            TVectors.Store(TVectors.Multiply(b2, scale), to + TVectors.Count);
            to += padded;
            TVectors.Store(TVectors.Multiply(a3, scale), to);
            TVectors.Store(TVectors.Multiply(b3, scale), to + TVectors.Count);
        }
    }

    /// <summary>Scores become exponentials of their distance to the largest.</summary>
    /// <returns>Their sum.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private float Softmax<TVectors, TVector>(float* scores, float* bias)
        where TVectors : struct, IFloatVectors<TVector>
        where TVector : unmanaged
    {
        var keys = _shape.Keys;
        for (var key = keys; key < _paddedKeys; key++)
            scores[key] = float.NegativeInfinity;
        var most = TVectors.Broadcast(float.NegativeInfinity);
        var i = 0;
        if (bias != null)
        {
            for (; i + TVectors.Count <= keys; i += TVectors.Count)
            {
                var score = TVectors.Add(TVectors.Load(scores + i), TVectors.Load(bias + i));
                most = TVectors.Max(most, score);
                TVectors.Store(score, scores + i);
            }
            for (var rest = i; rest < keys; rest++)
                scores[rest] += bias[rest];
        }
        for (; i < _paddedKeys; i += TVectors.Count)
            most = TVectors.Max(most, TVectors.Load(scores + i));
        var shift = TVectors.Broadcast(-TVectors.Largest(most));
        TVector sum = default;
        for (i = 0; i < _paddedKeys; i += TVectors.Count)
        {
            var e = TVectors.Exponential(TVectors.Add(TVectors.Load(scores + i), shift));
            sum = TVectors.Add(sum, e);
            TVectors.Store(e, scores + i);
        }
        return TVectors.Sum(sum);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Values<TVectors, TVector>(float* weights, float* values, float* inverses, float* result, int rows)
        where TVectors : struct, IFloatVectors<TVector>
        where TVector : unmanaged
    {
        float* w0 = weights, w1 = w0 + _paddedKeys, w2 = w1 + _paddedKeys, w3 = w2 + _paddedKeys;
        var (keys, stride) = (_shape.Keys, _values.Token);
        var sums = stackalloc TVector[2 * RowsAtOnce];
        for (var column = 0; column < _shape.ValueSize; column += 2 * TVectors.Count)
        {
            TVector a0 = default, a1 = default, a2 = default, a3 = default, b0 = default, b1 = default, b2 = default, b3 = default;
            var v = values + column;
            for (var key = 0; key < keys; key++, v += stride)
            {
                TVector left = TVectors.Load(v), right = TVectors.Load(v + TVectors.Count);
                var w = TVectors.Broadcast(w0[key]);
                a0 = TVectors.MultiplyAdd(w, left, a0);
                b0 = TVectors.MultiplyAdd(w, right, b0);
                w = TVectors.Broadcast(w1[key]);
                a1 = TVectors.MultiplyAdd(w, left, a1);
                b1 = TVectors.MultiplyAdd(w, right, b1);
                w = TVectors.Broadcast(w2[key]);
                a2 = TVectors.MultiplyAdd(w, left, a2);
                b2 = TVectors.MultiplyAdd(w, right, b2);
                w = TVectors.Broadcast(w3[key]);
                a3 = TVectors.MultiplyAdd(w, left, a3);
                b3 = TVectors.MultiplyAdd(w, right, b3);
            }
            (sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], sums[6], sums[7]) = (a0, b0, a1, b1, a2, b2, a3, b3);
            for (var row = 0; row < rows; row++)
            {
                var to = result + row * _result.Token + column;
                TVectors.Store(TVectors.Multiply(sums[2 * row], TVectors.Broadcast(inverses[row])), to);
                TVectors.Store(TVectors.Multiply(sums[2 * row + 1], TVectors.Broadcast(inverses[row])), to + TVectors.Count);
            }
        }
    }
}
