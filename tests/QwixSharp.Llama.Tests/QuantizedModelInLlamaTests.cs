using LLama;
using LLama.Common;
using LLama.Native;
using QwixSharp.Checkpoints;
using QwixSharp.Checkpoints.Gguf;
using QwixSharp.Providers;
using QwixSharp.Samples.Chat;
using QwixSharp.Tests;
using Xunit;
using static TorchSharp.torch;

namespace QwixSharp.Llama.Tests;

/// <summary>llama.cpp runs the weights that we quantized: what it answers is what our quantized model answers.</summary>
public class QuantizedModelInLlamaTests
{
    // llama.cpp quantizes activations too, which ours here does not: where two tokens are almost as likely, either may win. What
    // comes after this is clear.
    private const string Prompt = "One, two, three, four, five, six,";
    private const int Tokens = 16;

    private static readonly string Source = Path.Combine(
        Environment.GetEnvironmentVariable("QWIXSHARP_MODELS") is { Length: > 0 } named ? named : Path.Combine(RepositoryFolder.Path, "../shared/models"),
        "SmolLM2-135M-Instruct.Q4_1.gguf");

    [Theory]
    [InlineData("int8", null)]
    [InlineData("int4", 32)]
    public void LogitsAndContinuationAreOurs(string qtype, int? tile)
    {
        Assert.SkipUnless(File.Exists(Source), $"There is no {Source}.");
        var exported = Path.Combine(Path.GetTempPath(), $"qwixsharp-{Guid.NewGuid()}.gguf");
        try
        {
            using var scope = NewDisposeScope();
            using var noGrad = no_grad();
            using var file = LlamaFile.Load(Source);
            using var quantized = Qwix.QuantizeModel(file.Model, new PtqProvider([new() { ModulePath = @"layers\..*_proj", WeightQType = qtype, TileSize = tile, WeightScaleDtype = tile is null ? null : ScalarType.Float16 }, new() { ModulePath = "embed_tokens|", WeightQType = "int8" }]), zeros([1, 1], ScalarType.Int64), null, 0);
            using (var source = (GgufCheckpoint)Checkpoint.Open(Source))
                GgufExport.Write(exported, source, file.Model, quantized.Weights);

            int[] prompt = [.. file.Tokenizer.Encode(Prompt)];
            using var cache = new TensorCache(file.Model.Config, prompt.Length + Tokens);
            using var theirs = new Context(exported);
            var logits = quantized.call(tensor([.. prompt.Select(id => (long)id)]).unsqueeze(0), null, 1).flatten();
            float cosine = nn.functional.cosine_similarity(logits, tensor(theirs.Read(prompt, 0)), dim: 0).item<float>();
            Assert.True(cosine >= 0.99, $"cosine {cosine:f5}");

            if (qtype == "int8")
                Assert.Equal(new TextGenerator(quantized, cache, prompt.Length + Tokens).Continue(prompt, new Sampler(new Sampling())).Take(Tokens), theirs.Continue(prompt, Tokens));
        }
        finally
        {
            File.Delete(exported);
        }
    }

    private sealed class Context : IDisposable
    {
        private readonly LLamaWeights _weights;
        private readonly LLamaContext _context;
        private readonly Sampler _greedy = new(new Sampling());

        public Context(string path)
        {
            var settings = new ModelParams(path) { ContextSize = 128, GpuLayerCount = 0, Threads = 2 };
            _weights = LLamaWeights.LoadFromFile(settings);
            _context = new LLamaContext(_weights, settings);
        }

        /// <summary>The logits behind the last of some tokens.</summary>
        public float[] Read(ReadOnlySpan<int> tokens, int position)
        {
            var batch = new LLamaBatch();
            for (var i = 0; i < tokens.Length; i++)
                batch.Add(tokens[i], position + i, LLamaSeqId.Zero, i == tokens.Length - 1);
            Assert.Equal(DecodeResult.Ok, _context.NativeHandle.Decode(batch));
            return _context.NativeHandle.GetLogitsIth(tokens.Length - 1).ToArray();
        }

        public IEnumerable<int> Continue(int[] prompt, int count)
        {
            _context.NativeHandle.MemoryClear(true);
            List<int> ids = [_greedy.Choose(Read(prompt, 0))];
            while (ids.Count < count)
                ids.Add(_greedy.Choose(Read([ids[^1]], prompt.Length + ids.Count - 1)));
            return ids;
        }

        public void Dispose()
        {
            _context.Dispose();
            _weights.Dispose();
        }
    }
}
