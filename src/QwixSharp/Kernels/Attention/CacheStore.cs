namespace QwixSharp.Kernels.Attention;

/// <summary>
/// The memory of a quantized key-value cache: for each head of each sequence the codes and scales of its tokens.
/// </summary>
/// <remarks>
/// Keys are stored in blocks of <see cref="AttentionSource.BlockTokens"/> tokens, <c>[block][feature][token]</c>, so that the scores of
/// neighbouring tokens are lanes of a vector; values are <c>[token][feature]</c>, so that the features of their sum are.
/// </remarks>
internal sealed unsafe class CacheStore : AttentionSource, IDisposable
{
    private AlignedMemory _keys = new(0);
    private AlignedMemory _values = new(0);
    private AlignedMemory _keyScales = new(0);
    private AlignedMemory _valueScales = new(0);

    /// <summary>A store without room yet.</summary>
    /// <param name="codec">How vectors are kept.</param>
    /// <param name="heads">The heads of all sequences.</param>
    /// <param name="headSize">The features of a head; even where codes are half bytes.</param>
    public CacheStore(CacheCodec codec, int heads, int headSize)
    {
        Codec = codec;
        Heads = heads;
        HeadSize = headSize;
    }

    /// <summary>How vectors are kept.</summary>
    public CacheCodec Codec { get; }

    /// <inheritdoc/>
    public override int Heads { get; }

    /// <inheritdoc/>
    public override int HeadSize { get; }

    /// <summary>The tokens that there is room for.</summary>
    public int Capacity { get; private set; }

    /// <summary>The memory that the store holds, in bytes.</summary>
    public long Bytes => _keys.Bytes + _values.Bytes + _keyScales.Bytes + _valueScales.Bytes;

    /// <summary>The codes of a block of keys: [feature][<see cref="AttentionSource.BlockTokens"/>].</summary>
    /// <param name="head">The head.</param>
    /// <param name="block">The block.</param>
    public byte* Keys(int head, int block) => _keys.Pointer + Codec.Bytes(((long)head * Capacity + (long)block * BlockTokens) * HeadSize);

    /// <summary>The codes of values from one token on: [token][feature].</summary>
    /// <param name="head">The head.</param>
    /// <param name="token">The token.</param>
    public byte* Values(int head, int token) => _values.Pointer + Codec.Bytes(((long)head * Capacity + token) * HeadSize);

    /// <inheritdoc/>
    public override float* KeyScales(int head, int token) => (float*)_keyScales.Pointer + (long)head * Capacity + token;

    /// <inheritdoc/>
    public override float* ValueScales(int head, int token) => (float*)_valueScales.Pointer + (long)head * Capacity + token;

    /// <summary>Makes room, keeping what is there.</summary>
    /// <param name="tokens">The least capacity.</param>
    public void Reserve(int tokens)
    {
        if (tokens <= Capacity)
            return;
        var capacity = checked((tokens + BlockTokens - 1) / BlockTokens * BlockTokens);
        var codes = Codec.Bytes((long)Capacity * HeadSize);
        var moreCodes = Codec.Bytes((long)capacity * HeadSize);
        _keys = Grown(_keys, codes, moreCodes);
        _values = Grown(_values, codes, moreCodes);
        _keyScales = Grown(_keyScales, Capacity * sizeof(float), capacity * sizeof(float));
        _valueScales = Grown(_valueScales, Capacity * sizeof(float), capacity * sizeof(float));
        Capacity = capacity;
    }

    /// <summary>Quantizes the key and the value of one token.</summary>
    /// <param name="head">The head.</param>
    /// <param name="token">The token, below the capacity.</param>
    /// <param name="key">Its key.</param>
    /// <param name="value">Its value.</param>
    public void Write(int head, int token, float* key, float* value)
    {
        var codes = stackalloc byte[HeadSize];
        *KeyScales(head, token) = Codec.Quantize(key, HeadSize, codes);
        var keys = Keys(head, token / BlockTokens);
        if (Codec.Bits == 8)
            for (byte* place = keys + token % BlockTokens, code = codes, end = codes + HeadSize; code < end; code++, place += BlockTokens)
                *place = *code;
        else
            for (var i = 0; i < HeadSize; i++)
                Codec.Store(keys, i * BlockTokens + token % BlockTokens, codes[i]);
        *ValueScales(head, token) = Codec.Quantize(value, HeadSize, codes);
        var values = Values(head, token);
        if (Codec.Bits == 8)
            new Span<byte>(codes, HeadSize).CopyTo(new Span<byte>(values, HeadSize));
        else
            for (var i = 0; i < HeadSize; i++)
                Codec.Store(values, i, codes[i]);
    }

    /// <inheritdoc/>
    public override void Scores(int head, int token, int used, float* queries, int rows, float* scratch, float* scores)
    {
        var keys = Keys(head, token / BlockTokens);
        if (Codec.KeepsBytes && FewRows.CanMultiply(rows, HeadSize))
        {
            FewRows.Scores((sbyte*)keys, queries, HeadSize, scores);
            return;
        }
        Codec.Decode(keys, BlockTokens * HeadSize, scratch);
        BlockProduct.Multiply(queries, HeadSize, scratch, BlockTokens, scores, rows, BlockTokens, HeadSize, adds: false);
    }

    /// <inheritdoc/>
    public override void AddValues(int head, int token, int used, float* weights, int rows, float* scratch, float* sums, int columns)
    {
        if (Codec.KeepsBytes && columns == HeadSize && FewRows.CanMultiply(rows, HeadSize))
        {
            FewRows.AddValues((sbyte*)Values(head, token), used, weights, sums, columns);
            return;
        }
        for (var i = 0; i < used; i++)
            Codec.Decode(Values(head, token + i), HeadSize, scratch + i * columns);
        BlockProduct.Multiply(weights, BlockTokens, scratch, columns, sums, rows, columns, used, adds: true);
    }

    /// <summary>The codes of a head's keys or values in the order of tokens.</summary>
    /// <param name="head">The head.</param>
    /// <param name="tokens">How many tokens.</param>
    /// <param name="ofKeys">Whether keys or values.</param>
    /// <param name="codes">[tokens][features], a byte each; the result.</param>
    public void CopyCodes(int head, int tokens, bool ofKeys, byte* codes)
    {
        for (var token = 0; token < tokens; token++)
            for (var i = 0; i < HeadSize; i++)
                *codes++ = ofKeys
                    ? Codec.Load(Keys(head, token / BlockTokens), i * BlockTokens + token % BlockTokens)
                    : Codec.Load(Values(head, token), i);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _keys.Dispose();
        _values.Dispose();
        _keyScales.Dispose();
        _valueScales.Dispose();
    }

    /// <summary>A larger memory with each head's bytes at their new place.</summary>
    private AlignedMemory Grown(AlignedMemory memory, long headBytes, long moreBytes)
    {
        var grown = new AlignedMemory(checked(Heads * moreBytes));
        for (var head = 0L; head < Heads; head++)
            Buffer.MemoryCopy(memory.Pointer + head * headBytes, grown.Pointer + head * moreBytes, moreBytes, headBytes);
        memory.Dispose();
        return grown;
    }
}
