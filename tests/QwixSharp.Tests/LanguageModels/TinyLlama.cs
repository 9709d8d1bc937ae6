using QwixSharp.Checkpoints.Gguf;
using QwixSharp.Samples.Chat;
using static TorchSharp.torch;

namespace QwixSharp.Tests.LanguageModels;

/// <summary>A Llama of a few thousand random weights, and its GGUF file.</summary>
internal static class TinyLlama
{
    private const int ControlToken = 3, NormalToken = 1;

    public static LlamaConfig Config { get; } = new(
        Vocabulary: 259, Width: 64, Inner: 96, Layers: 2, Heads: 4, KeyHeads: 2, HeadSize: 16, Context: 64, RopeBase: 10000, NormEpsilon: 1.0 / (1 << 17), TiesEmbedding: true);

    /// <summary>What a file of the model says, to be changed by tests.</summary>
    public static OrderedDictionary<string, object> Metadata
    {
        get => new()
        {
            ["general.architecture"] = "llama",
            ["llama.context_length"] = (uint)Config.Context,
            ["llama.embedding_length"] = (uint)Config.Width,
            ["llama.block_count"] = (uint)Config.Layers,
            ["llama.feed_forward_length"] = (uint)Config.Inner,
            ["llama.attention.head_count"] = (uint)Config.Heads,
            ["llama.attention.head_count_kv"] = (uint)Config.KeyHeads,
            ["llama.attention.layer_norm_rms_epsilon"] = (float)Config.NormEpsilon,
            ["tokenizer.ggml.model"] = "gpt2",
            ["tokenizer.ggml.pre"] = "smollm",
            ["tokenizer.ggml.tokens"] = Tokens,
            ["tokenizer.ggml.token_type"] = Tokens.Select((_, id) => id < 2 ? ControlToken : NormalToken).ToArray(),
            ["tokenizer.ggml.merges"] = new[] { "Ġ a" },
            ["tokenizer.ggml.eos_token_id"] = 1u,
        };
    }

    /// <summary>Two special tokens, the 256 bytes as GPT-2 writes them, and one that is merged.</summary>
    private static string[] Tokens { get; } =
    [
        "<|im_start|>", "<|im_end|>",
        .. Enumerable.Range(0, 256).Where(b => b is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or (>= 0xAE and <= 0xFF)).Select(b => $"{(char)b}"),
        .. Enumerable.Range(0, 68).Select(i => $"{(char)(0x100 + i)}"),
        "Ġa",
    ];

    public static Llama Make(LlamaConfig? config = null)
    {
        var model = new Llama(config ?? Config);
        using var noGrad = no_grad();
        using var generator = new Generator(1);
        foreach (var parameter in model.parameters())
        {
            parameter.DetachFromDisposeScope();
            if (parameter.dim() > 1)
                nn.init.normal_(parameter, std: 0.1, generator: generator);
        }

        model.eval();
        return model;
    }

    /// <summary>Writes a file of the model with rows in llama.cpp's order; what is changed decides what is left out.</summary>
    public static void Write(string path, Llama model, IEnumerable<KeyValuePair<string, object>> metadata, Func<string, Tensor, Tensor?>? change = null)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var tensors = model.named_parameters()
            .Select(p => (Name: GgufNames.Of(p.name), Value: GgufNames.Turned(p.name, p.parameter, Config.HeadSize)))
            .Select(t => (t.Name, Value: change is null ? t.Value : change(t.Name, t.Value)))
            .Where(t => t.Value is not null).ToList();
        using var file = new GgufWriter(path, metadata, tensors.Select(t => (t.Name, GgufTensorType.F32, t.Value!.shape)));
        tensors.ForEach(t => file.Write(t.Name, t.Value!));
        file.Complete();
    }
}

/// <summary>llama.cpp's names and order of rows, written apart from the sample's reader.</summary>
internal static class GgufNames
{
    public static string Of(string name) => name switch
    {
        "embed_tokens.weight" => "token_embd.weight",
        "norm.weight" => "output_norm.weight",
        "lm_head.weight" => "output.weight",
        _ => "blk." + name["layers.".Length..].Split('.')[0] + "." + name.Split('.')[^2] switch
        {
            "input_layernorm" => "attn_norm",
            "post_attention_layernorm" => "ffn_norm",
            "q_proj" => "attn_q",
            "k_proj" => "attn_k",
            "v_proj" => "attn_v",
            "o_proj" => "attn_output",
            "gate_proj" => "ffn_gate",
            "up_proj" => "ffn_up",
            _ => "ffn_down",
        } + ".weight",
    };

    /// <summary>Row i of the first half of a head comes before row i of the second.</summary>
    public static Tensor Turned(string name, Tensor weight, int headSize)
    {
        if (!name.Contains("q_proj") && !name.Contains("k_proj"))
            return weight;
        var order = Enumerable.Range(0, (int)weight.shape[0]).Select(row => (row / headSize * headSize) + (row % headSize / 2) + (row % 2 * headSize / 2));
        return weight.index_select(0, tensor([.. order.Select(r => (long)r)]));
    }
}
