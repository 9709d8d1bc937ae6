using System.Text.Json;
using QwixSharp.Checkpoints;
using static TorchSharp.torch;

namespace QwixSharp.Samples.Chat;

/// <summary>The <c>config.json</c> and <c>tokenizer.json</c> of a Hugging Face folder.</summary>
internal sealed class FolderMetadata : ILlamaMetadata
{
    private readonly JsonElement _config;
    private readonly JsonElement _tokenizer;

    public FolderMetadata(Checkpoint checkpoint)
    {
        _config = checkpoint.Config ?? throw new InvalidDataException($"'{checkpoint.Path}' has no config.json.");
        if (Get(_config, "model_type").GetString() is not "llama" and var other)
            throw new InvalidDataException($"The model is of the architecture \"{other}\" (model_type); only \"llama\" is run here.");
        if (_config.TryGetProperty("rope_scaling", out var scaling) && scaling.ValueKind != JsonValueKind.Null)
            throw new InvalidDataException("The model needs rope_scaling, which is not supported here.");
        var file = Path.Combine(File.Exists(checkpoint.Path) ? Path.GetDirectoryName(checkpoint.Path)! : checkpoint.Path, "tokenizer.json");
        if (!File.Exists(file))
            throw new InvalidDataException($"'{file}' is missing.");
        using var document = JsonDocument.Parse(File.ReadAllText(file));
        _tokenizer = document.RootElement.Clone();
    }

    public int? EndToken => _config.TryGetProperty("eos_token_id", out var id) && id.ValueKind == JsonValueKind.Number ? id.GetInt32() : null;

    public LlamaConfig Config(Func<string, bool> hasTensor)
    {
        int heads = Number("num_attention_heads"), width = Number("hidden_size");
        return new LlamaConfig(
            Number("vocab_size"),
            width,
            Inner: Number("intermediate_size"),
            Layers: Number("num_hidden_layers"),
            heads,
            KeyHeads: Number("num_key_value_heads", heads),
            HeadSize: Number("head_dim", width / heads),
            Context: Number("max_position_embeddings"),
            RopeBase: _config.TryGetProperty("rope_theta", out var theta) ? theta.GetDouble() : 10000,
            NormEpsilon: Get(_config, "rms_norm_eps").GetDouble(),
            TiesEmbedding: !hasTensor("lm_head.weight"));
    }

    public BytePairTokenizer Tokenizer()
    {
        var model = Get(_tokenizer, "model");
        if (Get(model, "type").GetString() is not "BPE" and var type)
            throw new InvalidDataException($"The tokenizer is \"{type}\" (model.type of tokenizer.json); only BPE is supported here.");
        var tokens = new string[Number("vocab_size")];
        foreach (var token in Get(model, "vocab").EnumerateObject())
            tokens[token.Value.GetInt32()] = token.Name;
        List<int> special = [];
        foreach (var token in Get(_tokenizer, "added_tokens").EnumerateArray())
        {
            special.Add(Get(token, "id").GetInt32());
            tokens[special[^1]] = Get(token, "content").GetString()!;
        }

        // Rows of the table beyond the vocabulary stand for no text, but each needs a name.
        for (var id = 0; id < tokens.Length; id++)
            tokens[id] ??= $"<unused {id}>";
        var merges = Get(model, "merges").EnumerateArray().Select(m => m.ValueKind == JsonValueKind.String ? m.GetString()! : $"{m[0].GetString()} {m[1].GetString()}");
        return new BytePairTokenizer(tokens, merges, special, SplitsDigits());
    }

    public string StoredName(string parameter) => parameter.StartsWith("lm_head", StringComparison.Ordinal) ? parameter : "model." + parameter;

    public Tensor Arrange(string storedName, Tensor stored) => stored;

    private bool SplitsDigits()
    {
        var split = Get(_tokenizer, "pre_tokenizer");
        var steps = split.TryGetProperty("pretokenizers", out var several) ? several.EnumerateArray().ToList() : [split];
        var kinds = steps.Select(s => Get(s, "type").GetString()).ToList();
        return kinds switch
        {
            ["ByteLevel"] => false,
            ["Digits", "ByteLevel"] when Get(steps[0], "individual_digits").GetBoolean() => true,
            _ => throw new InvalidDataException($"Words are split by {string.Join(" and ", kinds)} (pre_tokenizer of tokenizer.json); only ByteLevel, with or without Digits, is supported here."),
        };
    }

    private int Number(string key, int? otherwise = null)
    {
        if (otherwise is { } number && (!_config.TryGetProperty(key, out var given) || given.ValueKind == JsonValueKind.Null))
            return number;
        var value = Get(_config, key);
        return value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out var read) && read > 0
            ? read
            : throw new InvalidDataException($"The key '{key}' of config.json is no positive whole number.");
    }

    private static JsonElement Get(JsonElement owner, string key) =>
        owner.TryGetProperty(key, out var value) ? value : throw new InvalidDataException($"The key '{key}' is missing.");
}
