using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Samples.Chat;

/// <summary>Keys and values as plain float32 tensors.</summary>
public sealed class TensorCache(LlamaConfig config, int capacity) : IKeyValueCache, IDisposable
{
    private readonly Tensor[] _keys = Make(config, capacity);
    private readonly Tensor[] _values = Make(config, capacity);
    private readonly int[] _lengths = new int[config.Layers];

    /// <inheritdoc/>
    public int Length => _lengths[^1];

    /// <summary>The bytes of all keys and values.</summary>
    public long ByteSize => _keys.Concat(_values).Sum(t => t.NumberOfElements * t.ElementSize);

    /// <inheritdoc/>
    public Tensor Attend(int layer, Tensor queries, Tensor keys, Tensor values)
    {
        using var scope = NewDisposeScope();
        var (past, count) = (_lengths[layer], queries.size(2));
        if (past + count > capacity)
            throw new ArgumentException($"The cache has room for {capacity} tokens, not {past + count}.", nameof(queries));
        _keys[layer].narrow(2, past, count).copy_(keys);
        _values[layer].narrow(2, past, count).copy_(values);
        _lengths[layer] = past + (int)count;
        return Attend(queries, _keys[layer].narrow(2, 0, past + count), _values[layer].narrow(2, 0, past + count)).MoveToOuterDisposeScope();
    }

    /// <summary>Causal attention of the last tokens over all; each head of keys is repeated for its group of queries.</summary>
    public static Tensor Attend(Tensor queries, Tensor keys, Tensor values)
    {
        using var scope = NewDisposeScope();
        var (count, all) = (queries.size(2), keys.size(2));
        var group = queries.size(1) / keys.size(1);
        var (k, v) = (keys.repeat_interleave(group, dim: 1), values.repeat_interleave(group, dim: 1));
        var mask = count == 1 || count == all ? null : ones(count, all, dtype: @bool).tril(all - count);
        return functional.scaled_dot_product_attention(queries, k, v, mask, is_casual: count == all).MoveToOuterDisposeScope();
    }

    /// <summary>Forgets the tokens behind the first ones.</summary>
    public void Trim(int length) => Array.Fill(_lengths, Math.Min(Length, length));

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var tensor in _keys.Concat(_values))
            tensor.Dispose();
    }

    private static Tensor[] Make(LlamaConfig config, int capacity) =>
        [.. Enumerable.Range(0, config.Layers).Select(_ => zeros(1, config.KeyHeads, capacity, config.HeadSize).DetachFromDisposeScope())];
}
