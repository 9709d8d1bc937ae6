using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Samples.Chat;

/// <summary>The sizes of a Llama model.</summary>
/// <param name="Vocabulary">How many tokens there are.</param>
/// <param name="Width">The size of a token's hidden state.</param>
/// <param name="Inner">The width of the feed-forward part.</param>
/// <param name="Layers">How many layers there are.</param>
/// <param name="Heads">The heads of queries.</param>
/// <param name="KeyHeads">The heads of keys and values, each shared by a group of heads of queries.</param>
/// <param name="HeadSize">The features of a head.</param>
/// <param name="Context">How many tokens a text may have.</param>
/// <param name="RopeBase">The base of the rotary positions' frequencies.</param>
/// <param name="NormEpsilon">What norms add to the mean square.</param>
/// <param name="TiesEmbedding">Whether the output layer is the embedding table.</param>
public sealed record LlamaConfig(
    int Vocabulary, int Width, int Inner, int Layers, int Heads, int KeyHeads, int HeadSize, int Context, double RopeBase, double NormEpsilon, bool TiesEmbedding);

/// <summary>What a layer remembers of the tokens before: it takes those of new tokens in and attends over all.</summary>
public interface IKeyValueCache
{
    /// <summary>The tokens that were taken in by all layers.</summary>
    int Length { get; }

    /// <summary>Takes in keys and values, <c>[batch, key heads, tokens, head size]</c>, and attends causally with the queries of the same tokens.</summary>
    /// <returns><c>[batch, heads, tokens, head size]</c>.</returns>
    Tensor Attend(int layer, Tensor queries, Tensor keys, Tensor values);
}

/// <summary>A language model of the Llama architecture (Touvron et al., arXiv 2302.13971; grouped-query attention, arXiv 2307.09288).</summary>
public sealed class Llama : Module<Tensor, IKeyValueCache?, int, Tensor>
{
    private readonly Embedding embed_tokens;
    private readonly ModuleList<LlamaLayer> layers = new();
    private readonly RmsNorm norm;
    private readonly Linear? lm_head;
    private readonly Tensor cos;
    private readonly Tensor sin;

    /// <summary>Makes a model with random weights.</summary>
    public Llama(LlamaConfig config) : base(nameof(Llama))
    {
        Config = config;
        embed_tokens = Embedding(config.Vocabulary, config.Width);
        for (var i = 0; i < config.Layers; i++)
            layers.Add(new LlamaLayer(config, i));
        norm = new RmsNorm(config.Width, config.NormEpsilon);
        lm_head = config.TiesEmbedding ? null : Linear(config.Width, config.Vocabulary, hasBias: false);
        (cos, sin) = Positions(config);
        register_buffer(nameof(cos), cos, persistent: false);
        register_buffer(nameof(sin), sin, persistent: false);
        RegisterComponents();
    }

    /// <summary>The sizes.</summary>
    public LlamaConfig Config { get; }

    /// <summary>Scores what comes next.</summary>
    /// <param name="ids">Token ids, int64, <c>[batch, tokens]</c>.</param>
    /// <param name="cache">Remembers the tokens before and takes these in; null where there are none before or after.</param>
    /// <param name="logitsToKeep">For how many of the last tokens to score the next; 0 for all.</param>
    /// <returns>float32, <c>[batch, tokens kept, vocabulary]</c>.</returns>
    public override Tensor forward(Tensor ids, IKeyValueCache? cache, int logitsToKeep)
    {
        using var scope = NewDisposeScope();
        var past = cache?.Length ?? 0;
        if (past + ids.size(1) > Config.Context)
            throw new ArgumentException($"{past + ids.size(1)} tokens are more than the model's context of {Config.Context}.", nameof(ids));
        var (tokenCos, tokenSin) = (cos.narrow(0, past, ids.size(1)), sin.narrow(0, past, ids.size(1)));
        var x = embed_tokens.call(ids);
        foreach (var layer in layers)
            x = layer.call(x, tokenCos, tokenSin, cache);
        if (logitsToKeep > 0)
            x = x.narrow(1, x.size(1) - logitsToKeep, logitsToKeep);
        x = norm.call(x);
        return (lm_head is null ? functional.linear(x, embed_tokens.weight!) : lm_head.call(x)).MoveToOuterDisposeScope();
    }

    /// <summary>Cosines and sines of the rotary positions, <c>[context, head size]</c>: both halves of a head turn alike.</summary>
    private static (Tensor Cos, Tensor Sin) Positions(LlamaConfig config)
    {
        using var scope = NewDisposeScope();
        var frequencies = pow(config.RopeBase, arange(0, config.HeadSize, 2, dtype: float32) / -config.HeadSize);
        var angles = outer(arange(config.Context, dtype: float32), frequencies);
        angles = cat([angles, angles], dim: -1);
        return scope.Detach(angles.cos(), angles.sin());
    }
}

/// <summary>One layer: attention among the tokens, then a gated feed-forward part, each of a norm of its input and added to it.</summary>
public sealed class LlamaLayer : Module<Tensor, Tensor, Tensor, IKeyValueCache?, Tensor>
{
    private readonly RmsNorm input_layernorm;
    private readonly LlamaAttention self_attn;
    private readonly RmsNorm post_attention_layernorm;
    private readonly LlamaFeedForward mlp;

    /// <summary>Makes a layer with random weights.</summary>
    public LlamaLayer(LlamaConfig config, int index) : base(nameof(LlamaLayer))
    {
        input_layernorm = new RmsNorm(config.Width, config.NormEpsilon);
        self_attn = new LlamaAttention(config, index);
        post_attention_layernorm = new RmsNorm(config.Width, config.NormEpsilon);
        mlp = new LlamaFeedForward(config);
        RegisterComponents();
    }

    /// <summary>Runs the layer.</summary>
    public override Tensor forward(Tensor x, Tensor cos, Tensor sin, IKeyValueCache? cache)
    {
        using var scope = NewDisposeScope();
        x = x + self_attn.call(input_layernorm.call(x), cos, sin, cache);
        return (x + mlp.call(post_attention_layernorm.call(x))).MoveToOuterDisposeScope();
    }
}

/// <summary>Grouped-query attention with rotary positions.</summary>
public sealed class LlamaAttention : Module<Tensor, Tensor, Tensor, IKeyValueCache?, Tensor>
{
    private readonly Linear q_proj;
    private readonly Linear k_proj;
    private readonly Linear v_proj;
    private readonly Linear o_proj;
    private readonly int _headSize;
    private readonly int _index;

    /// <summary>Makes the attention of a layer with random weights.</summary>
    public LlamaAttention(LlamaConfig config, int index) : base(nameof(LlamaAttention))
    {
        q_proj = Linear(config.Width, config.Heads * config.HeadSize, hasBias: false);
        k_proj = Linear(config.Width, config.KeyHeads * config.HeadSize, hasBias: false);
        v_proj = Linear(config.Width, config.KeyHeads * config.HeadSize, hasBias: false);
        o_proj = Linear(config.Heads * config.HeadSize, config.Width, hasBias: false);
        (_headSize, _index) = (config.HeadSize, index);
        RegisterComponents();
    }

    /// <summary>Attends.</summary>
    public override Tensor forward(Tensor x, Tensor cos, Tensor sin, IKeyValueCache? cache)
    {
        using var scope = NewDisposeScope();
        var q = Rotate(Split(q_proj.call(x)), cos, sin);
        var k = Rotate(Split(k_proj.call(x)), cos, sin);
        var v = Split(v_proj.call(x));
        var attended = cache is null ? TensorCache.Attend(q, k, v) : cache.Attend(_index, q, k, v);
        return o_proj.call(attended.transpose(1, 2).flatten(2)).MoveToOuterDisposeScope();
    }

    private Tensor Split(Tensor x) => x.view(x.size(0), x.size(1), -1, _headSize).transpose(1, 2);

    private static Tensor Rotate(Tensor x, Tensor cos, Tensor sin)
    {
        var halves = x.chunk(2, dim: -1);
        return x * cos + cat([-halves[1], halves[0]], dim: -1) * sin;
    }
}

/// <summary>SwiGLU (Shazeer, arXiv 2002.05202).</summary>
public sealed class LlamaFeedForward : Module<Tensor, Tensor>
{
    private readonly Linear gate_proj;
    private readonly Linear up_proj;
    private readonly Linear down_proj;

    /// <summary>Makes the feed-forward part of a layer with random weights.</summary>
    public LlamaFeedForward(LlamaConfig config) : base(nameof(LlamaFeedForward))
    {
        gate_proj = Linear(config.Width, config.Inner, hasBias: false);
        up_proj = Linear(config.Width, config.Inner, hasBias: false);
        down_proj = Linear(config.Inner, config.Width, hasBias: false);
        RegisterComponents();
    }

    /// <summary>Runs it.</summary>
    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        return down_proj.call(functional.silu(gate_proj.call(x)) * up_proj.call(x)).MoveToOuterDisposeScope();
    }
}

/// <summary>Root-mean-square norm (Zhang and Sennrich, arXiv 1910.07467).</summary>
public sealed class RmsNorm : Module<Tensor, Tensor>
{
    private readonly Parameter weight;
    private readonly double _epsilon;

    /// <summary>Makes a norm whose weights are 1.</summary>
    public RmsNorm(int width, double epsilon) : base(nameof(RmsNorm))
    {
        weight = Parameter(ones(width));
        _epsilon = epsilon;
        RegisterComponents();
    }

    /// <summary>Scales each row to a root mean square of 1, then by the weights.</summary>
    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        return (x * (x.square().mean([-1], keepdim: true) + _epsilon).rsqrt() * weight).MoveToOuterDisposeScope();
    }
}
