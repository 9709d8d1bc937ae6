using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Samples.Common;

/// <summary>The sizes of a BERT encoder; the defaults are those of all-MiniLM-L6-v2.</summary>
/// <param name="Vocabulary">How many tokens there are.</param>
/// <param name="Positions">How many tokens a text may have.</param>
/// <param name="Width">The size of a token's hidden state, and of an embedding.</param>
/// <param name="Inner">The width between the two layers of the feed-forward part.</param>
/// <param name="Layers">How many layers there are.</param>
/// <param name="Heads">How many attention heads share the width.</param>
public sealed record BertSize(int Vocabulary = 30522, int Positions = 512, int Width = 384, int Inner = 1536, int Layers = 6, int Heads = 12);

/// <summary>
/// A BERT encoder (Devlin et al. 2018) that turns texts into sentence embeddings (Reimers and Gurevych 2019): the mean of the
/// last hidden states of a text's tokens, scaled to length 1.
/// </summary>
public sealed class BertEncoder : Module<Tensor, Tensor, Tensor>
{
    private readonly Embedding word_embeddings;
    private readonly Embedding position_embeddings;
    private readonly Embedding token_type_embeddings;
    private readonly LayerNorm norm;
    private readonly ModuleList<BertLayer> layers = new();

    /// <summary>Makes an encoder with random weights.</summary>
    public BertEncoder(BertSize size) : base(nameof(BertEncoder))
    {
        word_embeddings = Embedding(size.Vocabulary, size.Width);
        position_embeddings = Embedding(size.Positions, size.Width);
        token_type_embeddings = Embedding(2, size.Width);
        norm = LayerNorm(size.Width, eps: BertLayer.Epsilon);
        for (var i = 0; i < size.Layers; i++)
            layers.Add(new BertLayer(size));
        RegisterComponents();
    }

    /// <summary>Embeds a batch of texts.</summary>
    /// <param name="ids">Token ids, int64, <c>[batch, tokens]</c>; shorter texts are filled up with any id.</param>
    /// <param name="mask">int64, <c>[batch, tokens]</c>: 1 where there is a token, 0 where there is filling.</param>
    /// <returns>float32, <c>[batch, width]</c>, rows of length 1.</returns>
    public override Tensor forward(Tensor ids, Tensor mask)
    {
        using var scope = NewDisposeScope();
        var positions = arange(ids.size(1), dtype: int64, device: ids.device);
        var x = word_embeddings.call(ids) + token_type_embeddings.call(zeros_like(ids)) + position_embeddings.call(positions);
        x = norm.call(x);

        var present = mask.to(x.dtype);
        var bias = ((1 - present) * -10000.0f).unsqueeze(1).unsqueeze(1);
        foreach (var layer in layers)
            x = layer.call(x, bias);

        var weights = present.unsqueeze(-1);
        var mean = (x * weights).sum(1) / weights.sum(1);
        return functional.normalize(mean, dim: -1).MoveToOuterDisposeScope();
    }
}

/// <summary>One layer of the encoder: attention among the tokens, then a feed-forward part, each added to its input and normalized.</summary>
public sealed class BertLayer : Module<Tensor, Tensor, Tensor>
{
    /// <summary>What layer norms add to the variance.</summary>
    public const double Epsilon = 1e-12;

    private readonly Linear query;
    private readonly Linear key;
    private readonly Linear value;
    private readonly Linear attention_output;
    private readonly LayerNorm attention_norm;
    private readonly Linear intermediate;
    private readonly Linear output;
    private readonly LayerNorm output_norm;
    private readonly int _heads;

    /// <summary>Makes a layer with random weights.</summary>
    public BertLayer(BertSize size) : base(nameof(BertLayer))
    {
        query = Linear(size.Width, size.Width);
        key = Linear(size.Width, size.Width);
        value = Linear(size.Width, size.Width);
        attention_output = Linear(size.Width, size.Width);
        attention_norm = LayerNorm(size.Width, eps: Epsilon);
        intermediate = Linear(size.Width, size.Inner);
        output = Linear(size.Inner, size.Width);
        output_norm = LayerNorm(size.Width, eps: Epsilon);
        _heads = size.Heads;
        RegisterComponents();
    }

    /// <summary>Runs the layer.</summary>
    /// <param name="x">Hidden states, <c>[batch, tokens, width]</c>.</param>
    /// <param name="bias">Added to the attention scores, <c>[batch, 1, 1, tokens]</c>: very negative where there is no token.</param>
    public override Tensor forward(Tensor x, Tensor bias)
    {
        using var scope = NewDisposeScope();
        x = attention_norm.call(x + attention_output.call(Attend(x, bias)));
        x = output_norm.call(x + output.call(functional.gelu(intermediate.call(x))));
        return x.MoveToOuterDisposeScope();
    }

    private Tensor Attend(Tensor x, Tensor bias)
    {
        var (q, k, v) = (Split(query.call(x)), Split(key.call(x)), Split(value.call(x)));
        var scores = matmul(q, k.transpose(-2, -1)) / Math.Sqrt(q.size(-1)) + bias;
        return matmul(scores.softmax(-1), v).transpose(1, 2).flatten(2);
    }

    private Tensor Split(Tensor x) => x.view(x.size(0), x.size(1), _heads, -1).transpose(1, 2);
}
