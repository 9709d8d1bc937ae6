using System.Runtime.CompilerServices;
using QwixSharp.Kernels.Threading;

namespace QwixSharp.Kernels.Attention;

/// <summary>
/// Attention over keys and values that are read where they lie, a block of tokens at a time: of a quantized cache only a
/// block of codes is ever turned into floats, and every block serves all queries that share its head.
/// </summary>
internal sealed unsafe class BlockAttention : KernelJob
{
    private const int BlockTokens = AttentionSource.BlockTokens;
    private const int MostRows = 64;

    /// <summary>Tokens are divided among threads in ranges of no fewer blocks than this.</summary>
    private const int SmallestRange = 4;

    /// <summary>Below this many multiplications a second thread costs more than it gives.</summary>
    private const long SmallestShared = 300_000;

    [ThreadStatic]
    private static BlockAttention? _cached;

    private readonly Workspace _workspace = new();
    private AttentionSource _source = null!;
    private int[] _lengths = null!;
    private AttentionShape _shape;
    private HeadTensor _queries;
    private HeadTensor _output;
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

    /// <summary>y = softmax(q · kᵀ · scale) · v; the queries of causal attention are the last tokens, and each sees the tokens up to its own.</summary>
    /// <param name="source">The keys and values.</param>
    /// <param name="lengths">The tokens of each sequence, those of the queries included.</param>
    /// <param name="shape">The sizes.</param>
    /// <param name="queries">[sequences, heads, tokens, features].</param>
    /// <param name="output">The result, of the same shape.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void Run(AttentionSource source, int[] lengths, AttentionShape shape, HeadTensor queries, HeadTensor output, int threads)
    {
        var attention = _cached ?? new BlockAttention();
        _cached = null;
        attention.Attend(source, lengths, shape, queries, output, threads);
        _cached = attention;
    }

    private void Attend(AttentionSource source, int[] lengths, AttentionShape shape, HeadTensor queries, HeadTensor output, int threads)
    {
        (_source, _lengths, _shape, _queries, _output) = (source, lengths, shape, queries, output);
        var longest = lengths.Max();
        if (2L * longest * shape.Tokens * shape.QueryHeads * lengths.Length * source.HeadSize < SmallestShared)
            threads = 1;
        _columns = Round(source.HeadSize, BlockProduct.Columns);
        _rows = shape.QueryHeads / shape.Heads * shape.Tokens;
        _rowsAtOnce = Math.Min(Round(_rows, BlockProduct.Rows), MostRows);
        _chunks = (_rows + _rowsAtOnce - 1) / _rowsAtOnce;
        var units = source.Heads * _chunks;
        var blocks = (longest + BlockTokens - 1) / BlockTokens;
        _ranges = threads == 1 || units >= 4 * threads ? 1 : Math.Clamp(blocks / SmallestRange, 1, 4 * threads);
        _partFloats = _rowsAtOnce * (_columns + 2L);
        _scratchFloats = (long)_rowsAtOnce * source.HeadSize + BlockTokens * (source.HeadSize + _columns + _rowsAtOnce);
        _scratch = (float*)_workspace.Reserve((threads * _scratchFloats + units * _ranges * _partFloats) * sizeof(float));
        _parts = _scratch + threads * _scratchFloats;
        _next = 0;
        KernelPool.Shared.Run(this, threads);
        if (_ranges > 1)
            for (var unit = 0; unit < units; unit++)
                Finish(unit);
        _workspace.Trim();
        (_source, _lengths) = (null!, null!);
    }

    private static int Round(int value, int multiple) => (value + multiple - 1) / multiple * multiple;

    /// <inheritdoc/>
    public override void Run(int worker)
    {
        var scratch = _scratch + worker * _scratchFloats;
        var units = _source.Heads * _chunks;
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
        int head = unit / _chunks, first = unit % _chunks * _rowsAtOnce, headSize = _source.HeadSize;
        var length = _lengths[head / _shape.Heads];
        var count = Math.Min(_rowsAtOnce, _rows - first);
        var padded = Round(count, BlockProduct.Rows);
        var queries = scratch;
        var keys = queries + _rowsAtOnce * headSize;
        var values = keys + BlockTokens * headSize;
        var scores = values + BlockTokens * _columns;
        var sums = Part(unit, range);
        var largest = sums + (long)_rowsAtOnce * _columns;
        var totals = largest + _rowsAtOnce;
        new Span<float>(sums, padded * _columns).Clear();
        new Span<float>(largest, padded).Fill(float.NegativeInfinity);
        new Span<float>(totals, padded).Clear();
        new Span<float>(values, BlockTokens * _columns).Clear();
        LoadQueries(head, first, count, padded, queries);

        var visibleToLast = Position(first + count - 1, length) + 1;
        var blocks = (visibleToLast + BlockTokens - 1) / BlockTokens;
        for (var block = blocks * range / _ranges; block < blocks * (range + 1) / _ranges; block++)
        {
            var token = block * BlockTokens;
            var used = Math.Min(BlockTokens, visibleToLast - token);
            _source.Scores(head, token, used, queries, padded, keys, scores);
            for (var row = 0; row < padded; row++)
            {
                var visible = row < count ? Math.Clamp(Position(first + row, length) + 1 - token, 0, BlockTokens) : 0;
                var factor = OnlineSoftmax.Take(scores + row * BlockTokens, visible, _source.KeyScales(head, token), _source.ValueScales(head, token), largest + row, totals + row);
                if (factor != 1)
                    RowScaling.Multiply(sums + row * _columns, factor, sums + row * _columns, _columns);
            }
            _source.AddValues(head, token, used, scores, padded, values, sums, _columns);
        }
    }

    /// <summary>The last token that a row sees; rows are ordered by token, then by head.</summary>
    private int Position(int row, int length) => _shape.IsCausal ? length - _shape.Tokens + row / (_shape.QueryHeads / _shape.Heads) : length - 1;

    /// <summary>Where a row lies in the queries or the output.</summary>
    private float* At(HeadTensor tensor, int head, int row)
    {
        var group = _shape.QueryHeads / _shape.Heads;
        return tensor.At(head / _shape.Heads, head % _shape.Heads * group + row % group) + row / group * tensor.Token;
    }

    private void LoadQueries(int head, int first, int count, int padded, float* queries)
    {
        var headSize = _source.HeadSize;
        for (var row = 0; row < count; row++)
        {
            RowScaling.Multiply(At(_queries, head, first + row), _shape.Scale, queries + row * headSize, headSize);
        }
        new Span<float>(queries + count * headSize, (padded - count) * headSize).Clear();
    }

    /// <summary>Brings the ranges of a unit together: each has its own largest score.</summary>
    private void Finish(int unit)
    {
        int head = unit / _chunks, first = unit % _chunks * _rowsAtOnce, headSize = _source.HeadSize;
        var count = Math.Min(_rowsAtOnce, _rows - first);
        for (var row = 0; row < count; row++)
        {
            var target = At(_output, head, first + row);
            if (_ranges == 1)
            {
                RowScaling.Multiply(Part(unit, 0) + row * _columns, 1 / Largest(unit, 0)[_rowsAtOnce + row], target, headSize);
                continue;
            }
            var largest = float.NegativeInfinity;
            for (var range = 0; range < _ranges; range++)
                largest = MathF.Max(largest, Largest(unit, range)[row]);
            var total = 0f;
            new Span<float>(target, headSize).Clear();
            for (var range = 0; range < _ranges; range++)
            {
                var weight = MathF.Exp(Largest(unit, range)[row] - largest);
                total += Largest(unit, range)[_rowsAtOnce + row] * weight;
                RowScaling.Add(Part(unit, range) + row * _columns, weight, target, headSize);
            }
            RowScaling.Multiply(target, 1 / total, target, headSize);
        }
    }

    private float* Largest(int unit, int range) => Part(unit, range) + (long)_rowsAtOnce * _columns;
}

/// <summary>The sizes of attention by blocks.</summary>
/// <param name="Heads">The heads of keys and values of one sequence.</param>
/// <param name="QueryHeads">The heads of queries, a multiple of <paramref name="Heads"/>: neighbours share a head of keys.</param>
/// <param name="Tokens">The tokens of the queries.</param>
/// <param name="Scale">What products of queries and keys are multiplied with.</param>
/// <param name="IsCausal">Whether a query sees only the tokens up to its own.</param>
internal readonly record struct AttentionShape(int Heads, int QueryHeads, int Tokens, float Scale, bool IsCausal);
