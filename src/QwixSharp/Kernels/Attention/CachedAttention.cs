using System.Runtime.CompilerServices;
using QwixSharp.Kernels.Threading;

namespace QwixSharp.Kernels.Attention;

/// <summary>
/// Causal attention over a quantized cache, a block of tokens at a time: only a block of codes is ever turned into
/// floats, and every block serves all queries that share its head.
/// </summary>
internal sealed unsafe class CachedAttention : KernelJob
{
    private const int MostRows = 64;

    /// <summary>Tokens are divided among threads in ranges of no fewer blocks than this.</summary>
    private const int SmallestRange = 4;

    /// <summary>Below this many multiplications a second thread costs more than it gives.</summary>
    private const long SmallestShared = 100_000;

    [ThreadStatic]
    private static CachedAttention? _cached;

    private readonly Workspace _workspace = new();
    private CacheStore _store = null!;
    private int[] _lengths = null!;
    private AttentionShape _shape;
    private float* _queries;
    private float* _output;
    private int _rows;
    private int _rowsAtOnce;
    private int _chunks;
    private int _ranges;
    private int _columns;
    private float* _scratch;
    private long _scratchFloats;
    private float* _parts;
    private long _partFloats;
    private int _next;

    /// <summary>y = softmax(q · kᵀ · scale) · v; a query sees the tokens up to its own, and the queries are the last tokens.</summary>
    /// <param name="store">The keys and values.</param>
    /// <param name="lengths">The tokens of each sequence, those of the queries included.</param>
    /// <param name="shape">The sizes.</param>
    /// <param name="queries">[sequences, heads, tokens, features], without gaps.</param>
    /// <param name="output">The result, of the same shape.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void Run(CacheStore store, int[] lengths, AttentionShape shape, float* queries, float* output, int threads)
    {
        var attention = _cached ?? new CachedAttention();
        _cached = null;
        attention.Attend(store, lengths, shape, queries, output, threads);
        _cached = attention;
    }

    private void Attend(CacheStore store, int[] lengths, AttentionShape shape, float* queries, float* output, int threads)
    {
        (_store, _lengths, _shape) = (store, lengths, shape);
        _queries = queries;
        _output = output;
        var longest = lengths.Max();
        if (2L * longest * shape.Tokens * shape.QueryHeads * lengths.Length * store.HeadSize < SmallestShared)
            threads = 1;
        _columns = Round(store.HeadSize, BlockProduct.Columns);
        _rows = shape.QueryHeads / shape.Heads * shape.Tokens;
        _rowsAtOnce = Math.Min(Round(_rows, BlockProduct.Rows), MostRows);
        _chunks = (_rows + _rowsAtOnce - 1) / _rowsAtOnce;
        var units = store.Heads * _chunks;
        var blocks = (longest + CacheStore.BlockTokens - 1) / CacheStore.BlockTokens;
        _ranges = threads == 1 || units >= 4 * threads ? 1 : Math.Clamp(blocks / SmallestRange, 1, 4 * threads);
        _partFloats = _rowsAtOnce * (_columns + 2L);
        _scratchFloats = (long)_rowsAtOnce * store.HeadSize + CacheStore.BlockTokens * (store.HeadSize + _columns + _rowsAtOnce);
        _scratch = (float*)_workspace.Reserve((threads * _scratchFloats + units * _ranges * _partFloats) * sizeof(float));
        _parts = _scratch + threads * _scratchFloats;
        _next = 0;
        KernelPool.Shared.Run(this, threads);
        if (_ranges > 1)
            for (var unit = 0; unit < units; unit++)
                Finish(unit);
        _workspace.Trim();
        (_store, _lengths) = (null!, null!);
    }

    private static int Round(int value, int multiple) => (value + multiple - 1) / multiple * multiple;

    /// <inheritdoc/>
    public override void Run(int worker)
    {
        var scratch = _scratch + worker * _scratchFloats;
        var units = _store.Heads * _chunks;
        while (true)
        {
            var part = Interlocked.Increment(ref _next) - 1;
            if (part >= units * _ranges)
                return;
            Attend(part / _ranges, part % _ranges, scratch);
            if (_ranges == 1)
                Finish(part);
        }
    }

    /// <summary>The sums [rows][columns] of one part, then the largest score and the sum of exponentials of each row.</summary>
    private float* Part(int unit, int range) => _parts + ((long)unit * _ranges + range) * _partFloats;

    private void Attend(int unit, int range, float* scratch)
    {
        int head = unit / _chunks, first = unit % _chunks * _rowsAtOnce, headSize = _store.HeadSize;
        var length = _lengths[head / _shape.Heads];
        var count = Math.Min(_rowsAtOnce, _rows - first);
        var padded = Round(count, BlockProduct.Rows);
        var queries = scratch;
        var keys = queries + _rowsAtOnce * headSize;
        var values = keys + CacheStore.BlockTokens * headSize;
        var scores = values + CacheStore.BlockTokens * _columns;
        var sums = Part(unit, range);
        var largest = sums + (long)_rowsAtOnce * _columns;
        var totals = largest + _rowsAtOnce;
        new Span<float>(sums, padded * _columns).Clear();
        new Span<float>(largest, padded).Fill(float.NegativeInfinity);
        new Span<float>(totals, padded).Clear();
        new Span<float>(values, CacheStore.BlockTokens * _columns).Clear();
        LoadQueries(head, first, count, padded, queries);

        var visibleToLast = Position(first + count - 1, length) + 1;
        var blocks = (visibleToLast + CacheStore.BlockTokens - 1) / CacheStore.BlockTokens;
        for (var block = blocks * range / _ranges; block < blocks * (range + 1) / _ranges; block++)
        {
            var token = block * CacheStore.BlockTokens;
            _store.Codec.Decode(_store.Keys(head, block), CacheStore.BlockTokens * headSize, keys);
            BlockProduct.Multiply(queries, headSize, keys, scores, padded, CacheStore.BlockTokens, headSize, adds: false);
            for (var row = 0; row < padded; row++)
            {
                var visible = row < count ? Math.Clamp(Position(first + row, length) + 1 - token, 0, CacheStore.BlockTokens) : 0;
                var factor = OnlineSoftmax.Take(scores + row * CacheStore.BlockTokens, visible, _store.KeyScales(head, token), _store.ValueScales(head, token), largest + row, totals + row);
                OnlineSoftmax.Rescale(sums + row * _columns, _columns, factor);
            }
            var used = Math.Min(CacheStore.BlockTokens, visibleToLast - token);
            for (var i = 0; i < used; i++)
                _store.Codec.Decode(_store.Values(head, token + i), headSize, values + i * _columns);
            BlockProduct.Multiply(scores, CacheStore.BlockTokens, values, sums, padded, _columns, used, adds: true);
        }
    }

    /// <summary>The place in the sequence of the token of a row; rows are ordered by token, then by head.</summary>
    private int Position(int row, int length) => length - _shape.Tokens + row / (_shape.QueryHeads / _shape.Heads);

    /// <summary>The offset in queries and output of a row.</summary>
    private long Offset(int head, int row)
    {
        var group = _shape.QueryHeads / _shape.Heads;
        var queryHead = (long)head / _shape.Heads * _shape.QueryHeads + head % _shape.Heads * group + row % group;
        return (queryHead * _shape.Tokens + row / group) * _store.HeadSize;
    }

    private void LoadQueries(int head, int first, int count, int padded, float* queries)
    {
        var headSize = _store.HeadSize;
        for (var row = 0; row < count; row++)
        {
            var query = _queries + Offset(head, first + row);
            for (var i = 0; i < headSize; i++)
                queries[row * headSize + i] = query[i] * _shape.Scale;
        }
        new Span<float>(queries + count * headSize, (padded - count) * headSize).Clear();
    }

    /// <summary>Brings the ranges of a unit together: each has its own largest score.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Finish(int unit)
    {
        int head = unit / _chunks, first = unit % _chunks * _rowsAtOnce, headSize = _store.HeadSize;
        var count = Math.Min(_rowsAtOnce, _rows - first);
        for (var row = 0; row < count; row++)
        {
            var target = _output + Offset(head, first + row);
            var largest = float.NegativeInfinity;
            for (var range = 0; range < _ranges; range++)
                largest = MathF.Max(largest, Largest(unit, range)[row]);
            var total = 0f;
            new Span<float>(target, headSize).Clear();
            for (var range = 0; range < _ranges; range++)
            {
                var sums = Part(unit, range) + row * _columns;
                var weight = MathF.Exp(Largest(unit, range)[row] - largest);
                total += Largest(unit, range)[_rowsAtOnce + row] * weight;
                for (var i = 0; i < headSize; i++)
                    target[i] += sums[i] * weight;
            }
            for (var i = 0; i < headSize; i++)
                target[i] /= total;
        }
    }

    private float* Largest(int unit, int range) => Part(unit, range) + (long)_rowsAtOnce * _columns;
}

/// <summary>The sizes of attention over a cache.</summary>
/// <param name="Heads">The heads of keys and values of one sequence.</param>
/// <param name="QueryHeads">The heads of queries, a multiple of <paramref name="Heads"/>: neighbours share a head of keys.</param>
/// <param name="Tokens">The tokens of the queries.</param>
/// <param name="Scale">What products of queries and keys are multiplied with.</param>
internal readonly record struct AttentionShape(int Heads, int QueryHeads, int Tokens, float Scale);
