using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Lora;

/// <summary>A Llama (Touvron et al. 2023) with the names of Hugging Face's, from token ids to logits.</summary>
internal sealed class TinyLlama : Module<Tensor, Tensor>
{
    private readonly Decoder model;
    private readonly Linear lm_head;

    /// <summary>Makes a model of the sizes that a state dict has.</summary>
    /// <param name="state">A state dict of Hugging Face's.</param>
    /// <param name="headSize">The size of an attention head.</param>
    public TinyLlama(IReadOnlyDictionary<string, Tensor> state, long headSize) : base("llama")
    {
        (model, lm_head) = (new Decoder(state, headSize), Dense(state, "lm_head"));
        RegisterComponents();
    }

    public override Tensor forward(Tensor ids) => lm_head.call(model.call(ids));

    private static Linear Dense(IReadOnlyDictionary<string, Tensor> state, string path)
    {
        var shape = state[path + ".weight"].shape;
        return Linear(shape[1], shape[0], hasBias: false);
    }

    private sealed class Decoder : Module<Tensor, Tensor>
    {
        private readonly Embedding embed_tokens;
        private readonly ModuleList<Layer> layers = new();
        private readonly RmsNorm norm;

        public Decoder(IReadOnlyDictionary<string, Tensor> state, long headSize) : base("model")
        {
            var table = state["model.embed_tokens.weight"].shape;
            (embed_tokens, norm) = (Embedding(table[0], table[1]), new RmsNorm(table[1]));
            for (int i = 0; state.ContainsKey($"model.layers.{i}.input_layernorm.weight"); i++)
                layers.Add(new Layer(state, $"model.layers.{i}.", headSize));
            RegisterComponents();
        }

        public override Tensor forward(Tensor ids)
        {
            var x = embed_tokens.call(ids);
            foreach (var layer in layers)
                x = layer.call(x);
            return norm.call(x);
        }
    }

    private sealed class Layer : Module<Tensor, Tensor>
    {
        private readonly RmsNorm input_layernorm;
        private readonly RmsNorm post_attention_layernorm;
        private readonly Attention self_attn;
        private readonly FeedForward mlp;

        public Layer(IReadOnlyDictionary<string, Tensor> state, string path, long headSize) : base("layer")
        {
            long width = state[path + "input_layernorm.weight"].shape[0];
            (input_layernorm, post_attention_layernorm) = (new RmsNorm(width), new RmsNorm(width));
            (self_attn, mlp) = (new Attention(state, path + "self_attn.", headSize), new FeedForward(state, path + "mlp."));
            RegisterComponents();
        }

        public override Tensor forward(Tensor x)
        {
            x = x + self_attn.call(input_layernorm.call(x));
            return x + mlp.call(post_attention_layernorm.call(x));
        }
    }

    private sealed class Attention : Module<Tensor, Tensor>
    {
        private readonly Linear q_proj;
        private readonly Linear k_proj;
        private readonly Linear v_proj;
        private readonly Linear o_proj;
        private readonly long _headSize;

        public Attention(IReadOnlyDictionary<string, Tensor> state, string path, long headSize) : base("attention")
        {
            _headSize = headSize;
            (q_proj, k_proj) = (Dense(state, path + "q_proj"), Dense(state, path + "k_proj"));
            (v_proj, o_proj) = (Dense(state, path + "v_proj"), Dense(state, path + "o_proj"));
            RegisterComponents();
        }

        public override Tensor forward(Tensor x)
        {
            long batch = x.shape[0], tokens = x.shape[1];
            Tensor Heads(Linear projection) => projection.call(x).view(batch, tokens, -1, _headSize).transpose(1, 2);
            Tensor q = Rotate(Heads(q_proj)), k = Rotate(Heads(k_proj)), v = Heads(v_proj);
            long sharing = q.shape[1] / k.shape[1];
            var mixed = functional.scaled_dot_product_attention(q, k.repeat_interleave(sharing, 1), v.repeat_interleave(sharing, 1), is_casual: true);
            return o_proj.call(mixed.transpose(1, 2).reshape(batch, tokens, -1));
        }

        /// <summary>Rotary position embedding (Su et al. 2021), halves of a head paired.</summary>
        private Tensor Rotate(Tensor x)
        {
            var frequencies = pow(10000.0, -arange(0, _headSize, 2, dtype: ScalarType.Float32) / _headSize);
            var angles = outer(arange(x.shape[2], dtype: ScalarType.Float32), frequencies).repeat(1, 2);
            var halves = x.chunk(2, -1);
            return (x * angles.cos()) + (cat([-halves[1], halves[0]], -1) * angles.sin());
        }
    }

    private sealed class FeedForward : Module<Tensor, Tensor>
    {
        private readonly Linear gate_proj;
        private readonly Linear up_proj;
        private readonly Linear down_proj;

        public FeedForward(IReadOnlyDictionary<string, Tensor> state, string path) : base("mlp")
        {
            (gate_proj, up_proj, down_proj) = (Dense(state, path + "gate_proj"), Dense(state, path + "up_proj"), Dense(state, path + "down_proj"));
            RegisterComponents();
        }

        public override Tensor forward(Tensor x) => down_proj.call(functional.silu(gate_proj.call(x)) * up_proj.call(x));
    }

    private sealed class RmsNorm : Module<Tensor, Tensor>
    {
        private readonly Parameter weight;

        public RmsNorm(long width) : base("norm")
        {
            weight = new Parameter(ones(width));
            RegisterComponents();
        }

        public override Tensor forward(Tensor x) => weight * x * (x.square().mean([-1L], keepdim: true) + 1e-6).rsqrt();
    }
}
