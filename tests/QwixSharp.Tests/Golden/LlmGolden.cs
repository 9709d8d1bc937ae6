using System.Text.Json;
using QwixSharp.Numerics;
using QwixSharp.Rules;

namespace QwixSharp.Tests.Golden;

/// <summary>The family llm, which has no tensors.</summary>
internal sealed class LlmGolden
{
    private static readonly Lazy<LlmGolden?> Loaded = new(() => GoldenFolder.TryFile("llm.json") is { } file ? new LlmGolden(file) : null);

    private readonly JsonElement _manifest;

    private LlmGolden(string file) => _manifest = JsonDocument.Parse(File.ReadAllText(file)).RootElement;

    /// <summary>The family, or null where the folder does not hold it.</summary>
    public static LlmGolden? TryLoad() => Loaded.Value;

    public string ModelName => _manifest.GetProperty("model").GetString()!;

    /// <summary>The beginning of the text that the rows of tokens are of; its last word may be cut.</summary>
    public string TextStart => _manifest.GetProperty("text_start").GetString()!;

    public long[][] TokenIds => [.. _manifest.GetProperty("token_ids").EnumerateArray().Select(Numbers)];

    public (long[] Ids, float[] Logits) FirstRowLastPosition
    {
        get
        {
            var top = _manifest.GetProperty("first_row_last_position");
            return (Numbers(top.GetProperty("top_ids")), [.. top.GetProperty("logits").EnumerateArray().Select(e => e.GetSingle())]);
        }
    }

    public (string Prompt, long[] PromptIds, long[] ContinuationIds, string Continuation) Greedy
    {
        get
        {
            var greedy = _manifest.GetProperty("greedy_float32");
            return (greedy.GetProperty("prompt").GetString()!, Numbers(greedy.GetProperty("prompt_ids")), Numbers(greedy.GetProperty("continuation_ids")), greedy.GetProperty("continuation").GetString()!);
        }
    }

    /// <summary>Perplexities by scheme.</summary>
    public IReadOnlyDictionary<string, double> Perplexity => _manifest.GetProperty("perplexity").EnumerateObject().ToDictionary(p => p.Name, p => p.Value.GetDouble());

    public IReadOnlyList<(string Text, long[] Ids)> Texts =>
        [.. _manifest.GetProperty("tokenizer").EnumerateArray().Select(t => (t.GetProperty("text").GetString()!, Numbers(t.GetProperty("ids"))))];

    /// <summary>The rule that a scheme's name spells, such as <c>int4_tile32_act_int8</c> or <c>int4_tile32_absmax_0.8</c>.</summary>
    public static QuantizationRule Rule(string scheme)
    {
        var words = new Queue<string>(scheme.Split('_'));
        var rule = new QuantizationRule { ModulePath = @"layers\.\d+\..*(q|k|v|o|gate|up|down)_proj", WeightQType = Type(words) };
        while (words.TryDequeue(out var word))
        {
            rule = word switch
            {
                "act" => rule with { ActQType = Type(words) },
                _ when word.StartsWith("tile", StringComparison.Ordinal) => rule with { TileSize = int.Parse(word[4..]) },
                _ => rule with { WeightCalibrationMethod = words.TryDequeue(out var factor) ? $"{word},{factor}" : word },
            };
        }

        return rule;
    }

    /// <summary>A type, whose name may itself have underscores.</summary>
    private static QType Type(Queue<string> words)
    {
        var name = words.Dequeue();
        while (words.TryPeek(out var more) && QType.TryParse($"{name}_{more}", out _))
            name = $"{name}_{words.Dequeue()}";
        return name;
    }

    private static long[] Numbers(JsonElement array) => [.. array.EnumerateArray().Select(e => e.GetInt64())];
}
