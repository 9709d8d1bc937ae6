using QwixSharp.Arrays;
using QwixSharp.Interception.Deferred;
using QwixSharp.Kernels.Attention;
using QwixSharp.Numerics;
using QwixSharp.Ops;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Caches;

/// <summary>
/// The keys and values of past tokens of one attention layer, quantized: a scale for each token of each head. A model's
/// own code holds one for each layer, and attends over it without turning it back into floats.
/// </summary>
/// <remarks>
/// <para>All sequences of a batch take the same number of new tokens at each call, but may be trimmed to lengths of their
/// own. With heads of 64 features and int8 codes a token takes 0.27 of its float32 size.</para>
/// <para>It lives on the CPU and is for inference: gradients do not flow through it. One thread may use it at a time.</para>
/// </remarks>
public sealed class QuantizedKvCache : IDisposable
{
    private readonly CacheStore _store;
    private readonly int[] _lengths;
    private bool _disposed;

    /// <summary>Makes an empty cache.</summary>
    /// <param name="heads">The heads of keys and values; with grouped-query attention, fewer than those of queries.</param>
    /// <param name="headSize">The features of a head.</param>
    /// <param name="qtype"><c>int8</c>, <c>int4</c>, <c>float8_e4m3fn</c> or <c>float8_e5m2</c>.</param>
    /// <param name="batch">The sequences.</param>
    /// <param name="capacity">The tokens to make room for at once. More are taken too: the memory then grows by half.</param>
    /// <exception cref="ArgumentException">A size is not positive, or the type is none of those above; int4 needs an even head size.</exception>
    public QuantizedKvCache(int heads, int headSize, QType qtype, int batch = 1, int capacity = 0)
    {
        ArgumentNullException.ThrowIfNull(qtype);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(heads);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(headSize);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(batch);
        ArgumentOutOfRangeException.ThrowIfNegative(capacity);
        if (qtype == QType.Int4 && headSize % 2 != 0)
            throw new ArgumentException($"int4 codes lie two to a byte, so that the head size must be even, not {headSize}. Use int8.", nameof(headSize));
        (Heads, HeadSize, QType, Batch) = (heads, headSize, qtype, batch);
        _store = new CacheStore(CodecOf(qtype), checked(batch * heads), headSize);
        _store.Reserve(capacity);
        _lengths = new int[batch];
    }

    /// <summary>The heads of keys and values.</summary>
    public int Heads { get; }

    /// <summary>The features of a head.</summary>
    public int HeadSize { get; }

    /// <summary>The type of the codes.</summary>
    public QType QType { get; }

    /// <summary>The sequences.</summary>
    public int Batch { get; }

    /// <summary>The tokens of the longest sequence.</summary>
    public int Length => _lengths.Max();

    /// <summary>The tokens of each sequence.</summary>
    public IReadOnlyList<int> Lengths => [.. _lengths];

    /// <summary>The tokens that there is room for.</summary>
    public int Capacity => _store.Capacity;

    /// <summary>The bytes of codes and scales, for all tokens that there is room for.</summary>
    public long ByteSize => _store.Bytes;

    /// <summary>Appends the keys and values of new tokens to every sequence.</summary>
    /// <param name="keys">[batch, heads, tokens, head size], floating-point, on the CPU.</param>
    /// <param name="values">Of the same shape.</param>
    /// <exception cref="ArgumentException">A shape, dtype or device is another.</exception>
    [TakesDeferred]
    public void Append(Tensor keys, Tensor values)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        int tokens = Check(keys, nameof(keys), Heads);
        if (Check(values, nameof(values), Heads) is var others && others != tokens)
            throw new ArgumentException($"The keys are of {tokens} tokens, but the values of {others}.", nameof(values));
        using var key = new HeadInput(keys);
        using var value = new HeadInput(values);
        key.Locate();
        var located = value.Locate();
        // Computing the values may have moved the keys.
        Append(key.Locate(), located, tokens);
    }

    private unsafe void Append(HeadTensor keys, HeadTensor values, int tokens)
    {
        int longest = checked(Length + tokens);
        if (longest > Capacity)
            _store.Reserve(Capacity == 0 ? longest : Math.Max(longest, checked(Capacity + (Capacity / 2))));
        for (int head = 0; head < Batch * Heads; head++)
        {
            var (sequence, place) = Math.DivRem(head, Heads);
            float* key = keys.At(sequence, place), value = values.At(sequence, place);
            for (int token = 0; token < tokens; token++, key += keys.Token, value += values.Token)
                _store.Write(head, _lengths[sequence] + token, key, value);
        }

        for (int sequence = 0; sequence < Batch; sequence++)
            _lengths[sequence] += tokens;
    }

    /// <summary>
    /// Causal attention of the last tokens, softmax(q · kᵀ · scale) · v: the queries are those of the tokens appended last,
    /// and each sees the tokens up to its own.
    /// </summary>
    /// <param name="queries">
    /// [batch, query heads, tokens, head size], floating-point, on the CPU. The query heads are a multiple of
    /// <see cref="Heads"/>: each group of neighbours shares a head of keys and values.
    /// </param>
    /// <param name="scale">What the products are multiplied with; 1/√(head size) unless told.</param>
    /// <returns>A tensor of the shape and dtype of the queries that the caller owns.</returns>
    /// <exception cref="ArgumentException">A shape, dtype or device does not fit, or a sequence has fewer tokens than the queries.</exception>
    [TakesDeferred]
    public Tensor Attend(Tensor queries, double? scale = null)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        int tokens = Check(queries, nameof(queries), null), queryHeads = (int)(DeferredValues.ShapeOf(queries)?[1] ?? queries.size(1));
        if (queryHeads % Heads != 0)
            throw new ArgumentException($"{queryHeads} heads of queries cannot share {Heads} heads of keys evenly.", nameof(queries));
        if (_lengths.Min() < tokens)
            throw new ArgumentException($"There are queries of {tokens} tokens, but a sequence of the cache has {_lengths.Min()}. Append their keys and values first.", nameof(queries));
        var shape = new AttentionShape(Heads, queryHeads, tokens, (float)(scale ?? 1 / Math.Sqrt(HeadSize)), IsCausal: true);
        long[] resultShape = [Batch, queryHeads, tokens, HeadSize];
        using var input = new HeadInput(queries);
        var q = input.Locate();
        // Of more tokens the heads are brought side by side next, which libtorch does with tensors.
        if (input.Waits && tokens == 1)
        {
            var memory = new LentMemory((long)Batch * queryHeads * HeadSize);
            BlockAttention.Run(_store, _lengths, shape, q, HeadsAt(memory.Address), get_num_threads());
            return DeferredValues.Lend(resultShape, memory, memory.Address);
        }

        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var result = empty(resultShape, dtype: ScalarType.Float32);
        if (tokens > 0)
            BlockAttention.Run(_store, _lengths, shape, q, HeadsAt(TensorMemory.Address(result)), get_num_threads());
        return (input.Waits || queries.dtype == ScalarType.Float32 ? result : result.to(queries.dtype)).MoveToOuterDisposeScope();

        HeadTensor HeadsAt(nint address) => new(address, (long)queryHeads * tokens * HeadSize, (long)tokens * HeadSize, HeadSize);
    }

    /// <summary>The keys of a sequence as a quantized array.</summary>
    /// <param name="sequence">The sequence, from 0.</param>
    /// <returns>[heads, tokens, head size], a copy that the caller owns.</returns>
    public QArray Keys(int sequence = 0) => View(sequence, ofKeys: true);

    /// <summary>The values of a sequence as a quantized array.</summary>
    /// <param name="sequence">The sequence, from 0.</param>
    /// <returns>[heads, tokens, head size], a copy that the caller owns.</returns>
    public QArray Values(int sequence = 0) => View(sequence, ofKeys: false);

    /// <summary>Forgets the tokens behind the first ones, in every sequence that has more.</summary>
    /// <param name="length">The tokens to keep.</param>
    public void Trim(int length)
    {
        for (int sequence = 0; sequence < Batch; sequence++)
            Trim(sequence, length);
    }

    /// <summary>Forgets the tokens of one sequence behind the first ones, such as the padding of a shorter prompt.</summary>
    /// <param name="sequence">The sequence, from 0.</param>
    /// <param name="length">The tokens to keep; a sequence that has fewer stays as it is.</param>
    public void Trim(int sequence, int length)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        CheckSequence(sequence);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        _lengths[sequence] = Math.Min(_lengths[sequence], length);
    }

    /// <summary>Frees the memory.</summary>
    public void Dispose()
    {
        _disposed = true;
        _store.Dispose();
    }

    private static CacheCodec CodecOf(QType qtype)
    {
        if (qtype == QType.Int8 || qtype == QType.Int4)
            return CacheCodec.Integers(qtype.Bits);
        if (qtype == QType.Float8E4M3Fn || qtype == QType.Float8E5M2)
            return CacheCodec.Floats(qtype.FloatFormat!.DecodeTable, qtype.FloatFormat.RoundingBounds, (float)qtype.SymmetricBound);
        throw new ArgumentException($"A cache cannot be of {qtype.Name}. Use int8, int4, float8_e4m3fn or float8_e5m2.", nameof(qtype));
    }

    private unsafe QArray View(int sequence, bool ofKeys)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        CheckSequence(sequence);
        using var scope = NewDisposeScope();
        int length = _lengths[sequence];
        long[] shape = [Heads, length, HeadSize];
        var codes = empty(shape, dtype: Codec.CodeDtype(QType));
        var scale = empty([Heads, length, 1], dtype: ScalarType.Float32);
        byte* code = (byte*)TensorMemory.Address(codes);
        float* scales = (float*)TensorMemory.Address(scale);
        for (int head = 0; head < Heads && length > 0; head++)
        {
            int stored = (sequence * Heads) + head;
            _store.CopyCodes(stored, length, ofKeys, code + ((long)head * length * HeadSize));
            var from = ofKeys ? _store.KeyScales(stored, 0) : _store.ValueScales(stored, 0);
            new Span<float>(from, length).CopyTo(new Span<float>(scales + ((long)head * length), length));
        }

        return new QArray(QType, shape, CodePacking.Pack(codes, QType), scale).MoveToOuterDisposeScope();
    }

    private void CheckSequence(int sequence)
    {
        if (sequence < 0 || sequence >= Batch)
            throw new ArgumentOutOfRangeException(nameof(sequence), sequence, $"The cache has {Batch} sequences.");
    }

    /// <summary>Checks a tensor; gives its number of tokens.</summary>
    private int Check(Tensor tensor, string name, int? heads)
    {
        ArgumentNullException.ThrowIfNull(tensor, name);
        if (DeferredValues.ShapeOf(tensor) is { } shape)
        {
            if (shape.Length != 4 || shape[0] != Batch || shape[3] != HeadSize || (heads is { } wanted && shape[1] != wanted))
                throw WrongShape(name, heads, shape);
            return checked((int)shape[2]);
        }

        // The sizes one by one: asking for the shape goes through a callback, which takes twenty times as long.
        if (tensor.dim() != 4 || tensor.size(0) != Batch || tensor.size(3) != HeadSize || (heads is { } number && tensor.size(1) != number))
            throw WrongShape(name, heads, tensor.shape);
        if (!Codec.IsQuantizable(tensor.dtype))
            throw new ArgumentException($"{name} must be floating-point, not {tensor.dtype}.", name);
        if (tensor.device_type != DeviceType.CPU)
            throw new ArgumentException($"{name} must be on the CPU, where the cache is, not on {tensor.device}.", name);
        return checked((int)tensor.size(2));
    }

    private ArgumentException WrongShape(string name, int? heads, long[] shape) =>
        new($"{name} must be [{Batch}, {heads?.ToString() ?? "heads"}, tokens, {HeadSize}], not {HowToQuantize.Format(shape)}.", name);
}
