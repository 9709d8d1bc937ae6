using QwixSharp.Numerics;
using QwixSharp.Samples.Chat;
using QwixSharp.Tests.Golden;
using static TorchSharp.torch;

namespace QwixSharp.Tests.LanguageModels;

/// <summary>The model of the golden family decodes with a cache as it does without: the same logits, the same perplexity.</summary>
[Collection(LanguageModelCollection.Name)]
public class CachedLogitsTests
{
    private const int Prompt = 48;

    private const string Text =
        "The old lighthouse stood at the end of a narrow road, and nobody in the village could say for certain who had built it. " +
        "Every evening, when the fishing boats came back, a thin light appeared in the highest window, although the keeper had left many years before. " +
        "Anna had promised her brother that she would not go there alone. But on the first day of winter, with snow lying on the rocks and the sea quiet for once, " +
        "she put on her father's coat, took a lamp and two apples, and walked along the shore until she saw the door. It was open. Inside there were stairs, " +
        "a smell of salt and candles, and on the third step a small brown dog that looked at her as if it had been waiting for a long time.";

    private static readonly Lazy<(Tensor Ids, Tensor Logits)> Whole = new(() =>
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var ids = tensor([.. LanguageModel.File.Tokenizer.Encode(Text).Select(id => (long)id)]).unsqueeze(0);
        var logits = LanguageModel.File.Model.call(ids, null, 0);
        return (ids.DetachFromDisposeScope(), logits.DetachFromDisposeScope());
    });

    [Fact]
    public void WithPlainTensorsLogitsAreThoseOfTheWholePass()
    {
        Assert.SkipWhen(LanguageModel.WhyMissing is not null, LanguageModel.WhyMissing ?? "");
        using var scope = NewDisposeScope();
        using var cache = new TensorCache(LanguageModel.File.Model.Config, Tokens);

        double difference = (Whole.Value.Logits - Decode(cache)).abs().max().item<float>();

        Assert.True(difference <= 1e-4, $"{difference:e2}; 1e-4 is the most");
    }

    [Fact]
    public void WithAnInt8CacheLogitsAndPerplexityAreNearThoseOfTheWholePass()
    {
        Assert.SkipWhen(LanguageModel.WhyMissing is not null, LanguageModel.WhyMissing ?? "");
        using var scope = NewDisposeScope();
        using var cache = new QuantizedCache(LanguageModel.File.Model.Config, QType.Int8, Tokens);

        var logits = Decode(cache);

        double snr = GoldenValue.Snr(Whole.Value.Logits, logits), expected = PerplexityOf(Whole.Value.Logits), perplexity = PerplexityOf(logits);
        Assert.True(snr >= 35, $"{snr:f1} dB; 35 is the least");
        Assert.True(Math.Abs(perplexity / expected - 1) <= 0.01, $"perplexity {perplexity:f3}, without a cache {expected:f3}; 1% is the most");
    }

    private static int Tokens => (int)Whole.Value.Ids.size(1);

    /// <summary>The logits of a prompt, then of single tokens, then of some at once.</summary>
    private static Tensor Decode(IKeyValueCache cache)
    {
        using var noGrad = no_grad();
        List<Tensor> logits = [];
        int[] counts = [Prompt, .. Enumerable.Repeat(1, 16), 3];
        while (cache.Length < Tokens)
        {
            int count = logits.Count < counts.Length ? counts[logits.Count] : Math.Min(20, Tokens - cache.Length);
            logits.Add(LanguageModel.File.Model.call(Whole.Value.Ids.narrow(1, cache.Length, count), cache, 0));
        }

        return cat([.. logits], 1);
    }

    private static double PerplexityOf(Tensor logits)
    {
        var losses = nn.functional.cross_entropy(logits[0].narrow(0, 0, Tokens - 1), Whole.Value.Ids[0].narrow(0, 1, Tokens - 1));
        return Math.Exp(losses.item<float>());
    }
}
