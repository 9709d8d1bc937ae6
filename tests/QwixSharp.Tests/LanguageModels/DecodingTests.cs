using QwixSharp.Numerics;
using QwixSharp.Providers;
using QwixSharp.Rules;
using QwixSharp.Samples.Chat;
using QwixSharp.Tests.Golden;
using static TorchSharp.torch;

namespace QwixSharp.Tests.LanguageModels;

/// <summary>Token by token with a cache, a model gives what it gives for the whole text at once.</summary>
public class DecodingTests
{
    private static readonly QuantizationRule[] Everything = [new() { WeightQType = "int8", ModulePath = ".*_proj|embed_tokens|" }];

    public static TheoryData<string, double> CacheTypes => new() { { "int8", 35 }, { "float8_e4m3fn", 22 }, { "int4", 10 } };

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void WithACacheOfPlainTensorsLogitsAreThoseOfTheWholePass(bool quantizes)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        using var original = TinyLlama.Make();
        using var quantized = Qwix.QuantizeModel(original, new PtqProvider(Everything), Ids(1), null, 0);
        nn.Module<Tensor, IKeyValueCache?, int, Tensor> model = quantizes ? quantized : original;
        using var cache = new TensorCache(original.Config, 40);

        var whole = model.call(Ids(40), null, 0);

        Assert.True((whole - Decode(model, cache, prompt: 13)).abs().max().item<float>() <= 1e-4);
    }

    [Theory]
    [MemberData(nameof(CacheTypes))]
    public void WithAQuantizedCacheLogitsAreNearThoseOfTheWholePass(string qtype, double decibels)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        using var model = TinyLlama.Make();
        using var cache = new QuantizedCache(model.Config, qtype, 40);

        double snr = GoldenValue.Snr(model.call(Ids(40), null, 0), Decode(model, cache, prompt: 13));

        Assert.True(snr >= decibels, $"{snr:f1} dB; {decibels} is the least");
    }

    [Fact]
    public void AQuantizedModelUsesAQuantizedCache()
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        using var original = TinyLlama.Make();
        using var quantized = Qwix.QuantizeModel(original, new PtqProvider(Everything), Ids(1), null, 0);
        using var cache = new QuantizedCache(original.Config, QType.Int8, 40);

        double snr = GoldenValue.Snr(quantized.call(Ids(40), null, 0), Decode(quantized, cache, prompt: 13));

        Assert.True(snr >= 35, $"{snr:f1} dB; 35 is the least");
    }

    [Fact]
    public void LogitsThatAreKeptAreTheLast()
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        using var model = TinyLlama.Make();

        var all = model.call(Ids(9), null, 0);

        Assert.True(all.narrow(1, 7, 2).allclose(model.call(Ids(9), null, 2), atol: 1e-5));
    }

    [Fact]
    public void AnswersAreTheSameAfterTrimming()
    {
        using var scope = NewDisposeScope();
        using var model = TinyLlama.Make();
        using var cache = new QuantizedCache(model.Config, QType.Int8, model.Config.Context);
        var sampling = new Sampling(Temperature: 1, TopK: 40, TopP: 0.9f, Seed: 7);
        int[] Answer() => [.. new TextGenerator(model, cache, model.Config.Context).Continue([5, 6, 7], new Sampler(sampling)).Take(20)];

        var first = Answer();
        cache.Trim(0);

        Assert.Equal(first, Answer());
    }

    [Fact]
    public void GenerationEndsWithTheContextAndATooLongPromptIsRefused()
    {
        using var scope = NewDisposeScope();
        using var model = TinyLlama.Make();
        using var cache = new TensorCache(model.Config, 64);
        var generator = new TextGenerator(model, cache, context: 20);

        Assert.Equal(16, generator.Continue([1, 2, 3, 4, 5], new Sampler(new Sampling())).Count());
        var error = Assert.Throws<ArgumentException>(() => generator.Continue([1], new Sampler(new Sampling())).Count());
        Assert.Contains("The prompt of 1 tokens does not fit: the context is 20 tokens, of which 20 are taken.", error.Message);
        using var noGrad = no_grad();
        Assert.Contains("65 tokens are more than the model's context of 64", Assert.Throws<ArgumentException>(() => model.call(Ids(65), null, 0)).Message);
    }

    [Fact]
    public void ATiedTableIsOneQuantizedCopyForLookUpAndProduct()
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        using var model = TinyLlama.Make();
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider(Everything), Ids(1), null, 0);
        var table = Assert.Single(quantized.Weights, w => w.Key.StartsWith("embed_tokens", StringComparison.Ordinal));
        var expected = quantized.call(Ids(20), null, 0);
        using (var dequantized = TinyLlama.Make())
        {
            foreach (var (name, array) in quantized.Weights)
                dequantized.get_parameter(name)!.copy_(array.Dequantize());
            Assert.True(GoldenValue.Snr(dequantized.call(Ids(20), null, 0), expected) >= 100);
        }

        quantized.ReleaseOriginalWeights();

        Assert.True(expected.equal(quantized.call(Ids(20), null, 0)).all().item<bool>());
        Assert.Equal(259 * (64 + 4), table.Value.ByteSize);
    }

    [Fact]
    public void ATokenThatTheTableDoesNotHaveIsRefused()
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        using var model = TinyLlama.Make();
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider(Everything), Ids(1), null, 0);

        var error = Assert.Throws<QwixException>(() => quantized.call(tensor([259L]).unsqueeze(0), null, 0));

        Assert.Contains("Index 259 is no row of a table of 259", error.Message);
        Assert.Contains("embed_tokens", error.Message);
    }

    /// <summary>The logits of a prompt, then of three tokens, then of single ones.</summary>
    private static Tensor Decode(nn.Module<Tensor, IKeyValueCache?, int, Tensor> model, IKeyValueCache cache, int prompt)
    {
        List<Tensor> logits = [];
        int[] counts = [prompt, 3, .. Enumerable.Repeat(1, 40 - prompt - 3)];
        foreach (int count in counts)
            logits.Add(model.call(Ids(40).narrow(1, cache.Length, count), cache, 0));
        return cat([.. logits], 1);
    }

    private static Tensor Ids(int count) => ((arange(count, dtype: ScalarType.Int64) * 37) % 259).unsqueeze(0);
}
