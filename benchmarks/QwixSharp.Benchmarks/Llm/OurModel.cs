using System.Runtime.InteropServices;
using QwixSharp.Numerics;
using QwixSharp.Samples.Chat;
using static TorchSharp.torch;

namespace QwixSharp.Benchmarks.Llm;

/// <summary>The model of the sample Chat under a scheme, with an empty cache.</summary>
internal sealed class OurModel : IDisposable
{
    private readonly LlamaFile _file;
    private readonly Sampler _greedy = new(new Sampling());
    private IKeyValueCache _cache;

    public OurModel(string path, Scheme scheme, int context)
    {
        _file = LlamaFile.Load(path);
        Model = scheme.Apply(_file.Model);
        _cache = new TensorCache(_file.Model.Config, context);
    }

    public nn.Module<Tensor, IKeyValueCache?, int, Tensor> Model { get; }

    public Llama Original => _file.Model;

    public long Bytes => Scheme.Bytes(Model);

    public long CacheBytes => _cache is QuantizedCache quantized ? quantized.ByteSize : ((TensorCache)_cache).ByteSize;

    /// <summary>Takes an empty cache of another type.</summary>
    public void UseCache(QType? qtype, int context)
    {
        ((IDisposable)_cache).Dispose();
        _cache = qtype is null ? new TensorCache(_file.Model.Config, context) : new QuantizedCache(_file.Model.Config, qtype, context);
    }

    /// <summary>Forgets the tokens behind the first ones.</summary>
    public void Trim(int length)
    {
        if (_cache is QuantizedCache quantized)
            quantized.Trim(length);
        else
            ((TensorCache)_cache).Trim(length);
    }

    /// <summary>Reads tokens; gives the likeliest next.</summary>
    public int Read(ReadOnlySpan<int> tokens)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var ids = tensor(Array.ConvertAll(tokens.ToArray(), t => (long)t)).unsqueeze(0);
        return _greedy.Choose(MemoryMarshal.Cast<byte, float>(Model.call(ids, _cache, 1).bytes));
    }

    public void Dispose()
    {
        ((IDisposable)_cache).Dispose();
        Model.Dispose();
        _file.Dispose();
    }
}
