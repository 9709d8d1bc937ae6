using QwixSharp.Caches;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Samples.Chat;

/// <summary>Keys and values quantized, a <see cref="QuantizedKvCache"/> for each layer.</summary>
public sealed class QuantizedCache(LlamaConfig config, QType qtype, int capacity) : IKeyValueCache, IDisposable
{
    private readonly QuantizedKvCache[] _layers =
        [.. Enumerable.Range(0, config.Layers).Select(_ => new QuantizedKvCache(config.KeyHeads, config.HeadSize, qtype, capacity: capacity))];

    /// <inheritdoc/>
    public int Length => _layers[^1].Length;

    /// <summary>The bytes of all codes and scales.</summary>
    public long ByteSize => _layers.Sum(l => l.ByteSize);

    /// <inheritdoc/>
    public Tensor Attend(int layer, Tensor queries, Tensor keys, Tensor values)
    {
        _layers[layer].Append(keys, values);
        return _layers[layer].Attend(queries);
    }

    /// <summary>Forgets the tokens behind the first ones.</summary>
    public void Trim(int length) => Array.ForEach(_layers, l => l.Trim(length));

    /// <inheritdoc/>
    public void Dispose() => Array.ForEach(_layers, l => l.Dispose());
}
