using System.Globalization;
using QwixSharp.Checkpoints.Gguf;
using static TorchSharp.torch;

namespace QwixSharp.Samples.Chat;

/// <summary>The metadata of a GGUF file, under the keys that llama.cpp gives them.</summary>
internal sealed class GgufMetadata : ILlamaMetadata
{
    private const string Architecture = "general.architecture";
    private const int ControlToken = 3, UserDefinedToken = 4;

    private static readonly (string Here, string Stored)[] Renamed =
    [
        ("embed_tokens.", "token_embd."),
        ("lm_head.", "output."),
        ("layers.", "blk."),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
    ];

    private readonly GgufCheckpoint _file;

    public GgufMetadata(GgufCheckpoint file)
    {
        _file = file;
        if (Text(Architecture) is not "llama" and var other)
            throw new InvalidDataException($"The model is of the architecture \"{other}\" ({Architecture}); only \"llama\" is run here.");
        foreach (var key in new[] { "llama.rope.scaling.type", "llama.expert_count" })
            if (_file.Values.TryGetValue(key, out var value) && value is not ("none" or 0u))
                throw new InvalidDataException($"The model needs what is not supported here: {key} is {value}.");
        HeadSize = Number("llama.attention.key_length", Number("llama.embedding_length") / Number("llama.attention.head_count"));
    }

    /// <summary>The features of a head.</summary>
    public int HeadSize { get; }

    public int? EndToken => _file.Values.ContainsKey("tokenizer.ggml.eos_token_id") ? Number("tokenizer.ggml.eos_token_id") : null;

    public LlamaConfig Config(Func<string, bool> hasTensor)
    {
        var heads = Number("llama.attention.head_count");
        if (Number("llama.rope.dimension_count", HeadSize) is var turned && turned != HeadSize)
            throw new InvalidDataException($"llama.rope.dimension_count is {turned}, but only whole heads of {HeadSize} features are turned here.");
        if (hasTensor("rope_freqs.weight"))
            throw new InvalidDataException("The tensor 'rope_freqs.weight' changes the rotary frequencies, which is not supported here.");
        return new LlamaConfig(
            Vocabulary: Strings("tokenizer.ggml.tokens").Length,
            Width: Number("llama.embedding_length"),
            Inner: Number("llama.feed_forward_length"),
            Layers: Number("llama.block_count"),
            heads,
            KeyHeads: Number("llama.attention.head_count_kv", heads),
            HeadSize,
            Context: Number("llama.context_length"),
            RopeBase: _file.Values.ContainsKey("llama.rope.freq_base") ? Real("llama.rope.freq_base") : 10000,
            NormEpsilon: Real("llama.attention.layer_norm_rms_epsilon"),
            TiesEmbedding: !hasTensor("output.weight"));
    }

    public BytePairTokenizer Tokenizer()
    {
        if (Text("tokenizer.ggml.model") is not "gpt2" and var model)
            throw new InvalidDataException($"The tokenizer is \"{model}\" (tokenizer.ggml.model); only byte-level BPE, \"gpt2\", is supported here.");
        var splitsDigits = Text("tokenizer.ggml.pre") switch
        {
            "smollm" => true,
            "gpt-2" or "default" => false,
            var pre => throw new InvalidDataException($"Words are split as \"{pre}\" does (tokenizer.ggml.pre); only \"smollm\" and \"gpt-2\" are supported here."),
        };
        var types = (int[])Value("tokenizer.ggml.token_type", typeof(int[]));
        var special = types.Index().Where(t => t.Item is ControlToken or UserDefinedToken).Select(t => t.Index);
        return new BytePairTokenizer(Strings("tokenizer.ggml.tokens"), Strings("tokenizer.ggml.merges"), special, splitsDigits);
    }

    public string StoredName(string parameter)
    {
        var name = parameter == "norm.weight" ? "output_norm.weight" : parameter;
        return Renamed.Aggregate(name, (current, renamed) => current.Replace(renamed.Here, renamed.Stored, StringComparison.Ordinal));
    }

    /// <summary>llama.cpp turns neighbouring features of a head together, Llama the two halves: its converter reorders the rows.</summary>
    public Tensor Arrange(string storedName, Tensor stored) => IsTurned(storedName)
        ? stored.view(-1, HeadSize / 2, 2, stored.size(1)).transpose(1, 2).reshape(stored.shape)
        : stored;

    /// <summary>Whether the rows of a tensor are in another order than in <see cref="Llama"/>.</summary>
    public static bool IsTurned(string storedName) =>
        storedName.EndsWith("attn_q.weight", StringComparison.Ordinal) || storedName.EndsWith("attn_k.weight", StringComparison.Ordinal);

    private string Text(string key) => (string)Value(key, typeof(string));

    private string[] Strings(string key) => (string[])Value(key, typeof(string[]));

    private int Number(string key, int? otherwise = null)
    {
        if (otherwise is { } number && !_file.Values.ContainsKey(key))
            return number;
        if (Value(key, null) is IConvertible and not (string or bool) and var value && Convert.ToDouble(value, CultureInfo.InvariantCulture) is > 0 and <= int.MaxValue and var read)
            return (int)read;
        throw new InvalidDataException($"The metadata key '{key}' is no positive whole number.");
    }

    private double Real(string key) => Value(key, null) switch
    {
        float single => single,
        double real => real,
        _ => throw new InvalidDataException($"The metadata key '{key}' is no floating-point number."),
    };

    private object Value(string key, Type? type)
    {
        if (!_file.Values.TryGetValue(key, out var value))
            throw new InvalidDataException($"The metadata key '{key}' is missing.");
        if (type is not null && value.GetType() != type)
            throw new InvalidDataException($"The metadata key '{key}' is a {value.GetType().Name}, not a {type.Name}.");
        return value;
    }
}
