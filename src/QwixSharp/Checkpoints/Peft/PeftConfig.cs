using System.Text.Json;
using System.Text.RegularExpressions;

namespace QwixSharp.Checkpoints.Peft;

/// <summary>
/// What <c>adapter_config.json</c>, as Hugging Face's PEFT writes it, says of a LoRA adapter. Settings that would change
/// what the adapter computes and are not known here are refused.
/// </summary>
/// <param name="Rank">r where no pattern says otherwise.</param>
/// <param name="Alpha">α where no pattern says otherwise.</param>
/// <param name="Dropout">The probability of dropout.</param>
/// <param name="RankStabilized">Whether the scaling is α ÷ √r.</param>
/// <param name="Ranks">r by patterns of module paths.</param>
/// <param name="Alphas">α by patterns of module paths.</param>
internal sealed record PeftConfig(
    int Rank,
    double Alpha,
    double Dropout,
    bool RankStabilized,
    IReadOnlyDictionary<string, int> Ranks,
    IReadOnlyDictionary<string, double> Alphas)
{
    internal const string FileName = "adapter_config.json";

    private static readonly HashSet<string> Read =
        ["peft_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "rank_pattern", "alpha_pattern", "bias", "init_lora_weights"];

    /// <summary>
    /// Settings that say where the adapter comes from, how it was initialized, or which modules it is for; the last the
    /// names of its tensors say too.
    /// </summary>
    private static readonly HashSet<string> WithoutEffect =
    [
        "auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying", "eva_config", "exclude_modules", "fan_in_fan_out",
        "inference_mode", "layers_pattern", "layers_to_transform", "loftq_config", "lora_ga_config", "megatron_core", "peft_version",
        "qalora_group_size", "revision", "runtime_config", "target_modules", "task_type",
    ];

    /// <summary>Reads the file of a folder.</summary>
    /// <exception cref="CheckpointException">There is none, it is not valid, or it says what is not known here.</exception>
    internal static PeftConfig Open(string folder)
    {
        string path = Path.Combine(folder, FileName);
        try
        {
            using var json = JsonDocument.Parse(File.ReadAllBytes(path));
            return Parse(path, json.RootElement);
        }
        catch (JsonException error)
        {
            throw new CheckpointException($"{CheckpointException.Quote(path)} is not valid JSON: {CheckpointException.Describe(error)}.", error);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"Cannot read {CheckpointException.Quote(path)}: {Files.FileErrors.Describe(error)}", error);
        }
        catch (Exception error) when (error is InvalidOperationException or FormatException or KeyNotFoundException)
        {
            throw new CheckpointException($"{CheckpointException.Quote(path)} is no LoRA configuration of PEFT's: a setting is missing or of another type. {error.Message}", error);
        }
    }

    /// <summary>r of the module at a path.</summary>
    internal int RankOf(string modulePath) => Find(Ranks, modulePath, Rank);

    /// <summary>α of the module at a path.</summary>
    internal double AlphaOf(string modulePath) => Find(Alphas, modulePath, Alpha);

    private static PeftConfig Parse(string path, JsonElement root)
    {
        CheckpointException Refuse(string what) => new($"{CheckpointException.Quote(path)} cannot be used: {what}");

        if (root.GetProperty("peft_type").GetString() is not "LORA" and var type)
            throw Refuse($"its peft_type is {CheckpointException.Quote(type ?? "null")}; only LORA adapters are known.");
        foreach (var setting in root.EnumerateObject())
        {
            if (!Read.Contains(setting.Name) && !WithoutEffect.Contains(setting.Name) && IsSet(setting.Value))
                throw Refuse($"it sets {CheckpointException.Quote(setting.Name)} to {CheckpointException.Quote(setting.Value.GetRawText())}, which is not known here. Merge the adapter into its base with PEFT's merge_and_unload, or train it without.");
        }

        if (root.TryGetProperty("bias", out var bias) && bias.GetString() is not "none" and var trained)
            throw Refuse($"it trains biases ({CheckpointException.Quote(trained ?? "null")}). Merge the adapter into its base with PEFT's merge_and_unload.");
        if (root.TryGetProperty("init_lora_weights", out var init) && init.ValueKind == JsonValueKind.String && init.GetString() is not ("gaussian" or "eva" or "orthogonal") and var method)
            throw Refuse($"it was initialized by {CheckpointException.Quote(method!)}, which changes the base weights. Convert it as PEFT's documentation says, with save_pretrained(…, path_initial_model_for_weight_conversion=…).");
        return new PeftConfig(
            root.GetProperty("r").GetInt32(),
            root.GetProperty("lora_alpha").GetDouble(),
            root.TryGetProperty("lora_dropout", out var dropout) ? dropout.GetDouble() : 0,
            root.TryGetProperty("use_rslora", out var stabilized) && stabilized.GetBoolean(),
            Pattern(root, "rank_pattern", value => value.GetInt32()),
            Pattern(root, "alpha_pattern", value => value.GetDouble()));
    }

    private static Dictionary<string, T> Pattern<T>(JsonElement root, string name, Func<JsonElement, T> read) =>
        root.TryGetProperty(name, out var pattern) && pattern.ValueKind == JsonValueKind.Object
            ? pattern.EnumerateObject().ToDictionary(p => p.Name, p => read(p.Value))
            : [];

    private static bool IsSet(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Null or JsonValueKind.False => false,
        JsonValueKind.String => value.GetString()!.Length > 0,
        JsonValueKind.Array => value.GetArrayLength() > 0,
        JsonValueKind.Object => value.EnumerateObject().Any(),
        _ => true,
    };

    /// <summary>The first pattern that is the end of the path, whole names of it, wins.</summary>
    private static T Find<T>(IReadOnlyDictionary<string, T> patterns, string modulePath, T otherwise)
    {
        foreach (var (pattern, value) in patterns)
        {
            if (Regex.IsMatch(modulePath, $@"\A(?:.*\.)?(?:{pattern})\z", RegexOptions.CultureInvariant, TimeSpan.FromSeconds(1)))
                return value;
        }

        return otherwise;
    }
}
