using LLama;
using LLama.Common;
using LLama.Native;

namespace QwixSharp.Benchmarks.Llm;

/// <summary>llama.cpp with a model and an empty context.</summary>
internal sealed class LlamaCpp : IDisposable
{
    private readonly LLamaWeights _weights;
    private readonly LLamaContext _context;
    private readonly LLamaBatch _batch = new();

    public LlamaCpp(string path, int context, int threads)
    {
        var settings = new ModelParams(path) { ContextSize = (uint)context, BatchSize = 512, UBatchSize = 512, GpuLayerCount = 0, Threads = threads, BatchThreads = threads };
        _weights = LLamaWeights.LoadFromFile(settings);
        _context = new LLamaContext(_weights, settings);
    }

    /// <summary>The bytes of the weights.</summary>
    public long Bytes => (long)_weights.SizeInBytes;

    /// <summary>Forgets all tokens.</summary>
    public void Clear() => _context.NativeHandle.MemoryClear(true);

    /// <summary>Reads tokens; gives the likeliest next.</summary>
    public int Read(ReadOnlySpan<int> tokens, int position)
    {
        _batch.Clear();
        for (var i = 0; i < tokens.Length; i++)
            _batch.Add(tokens[i], position + i, LLamaSeqId.Zero, i == tokens.Length - 1);
        if (_context.NativeHandle.Decode(_batch) is not DecodeResult.Ok and var failure)
            throw new InvalidOperationException($"llama.cpp: {failure}");
        var logits = _context.NativeHandle.GetLogitsIth(tokens.Length - 1);
        var best = 0;
        for (var id = 1; id < logits.Length; id++)
            if (logits[id] > logits[best])
                best = id;
        return best;
    }

    public void Dispose()
    {
        _context.Dispose();
        _weights.Dispose();
    }
}
