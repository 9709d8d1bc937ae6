using QwixSharp.Samples.Common;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Samples.QLora;

/// <summary>An encoder of texts with a linear layer on its embeddings.</summary>
internal sealed class Classifier : Module<Tensor, Tensor, Tensor>
{
    private readonly Module<Tensor, Tensor, Tensor> _encoder;
    private readonly TorchSharp.Modules.Linear _head;
    private readonly bool _trainsEncoder;
    private readonly double _scale;

    /// <summary>Puts a new layer on an encoder, which the classifier then owns.</summary>
    /// <param name="encoder">The encoder.</param>
    /// <param name="labels">How many labels there are.</param>
    /// <param name="trainsEncoder">Whether the encoder's parameters train too.</param>
    public Classifier(Module<Tensor, Tensor, Tensor> encoder, int labels, bool trainsEncoder) : base(nameof(Classifier))
    {
        int width = new BertSize().Width;
        // Embeddings have length 1; their values should be of the size that the layer's initialization expects.
        _scale = Math.Sqrt(width);
        (_encoder, _head, _trainsEncoder) = (encoder, Linear(width, labels), trainsEncoder);
        RegisterComponents();
    }

    /// <summary>What an optimizer trains.</summary>
    public IEnumerable<TorchSharp.Modules.Parameter> Trainable => _trainsEncoder ? parameters() : _head.parameters();

    /// <summary>The logits of a batch of texts.</summary>
    /// <param name="ids">Token ids, int64, <c>[batch, tokens]</c>.</param>
    /// <param name="mask">1 where there is a token, int64, <c>[batch, tokens]</c>.</param>
    public override Tensor forward(Tensor ids, Tensor mask)
    {
        using var scope = NewDisposeScope();
        return _head.call(_scale * Encode(ids, mask)).MoveToOuterDisposeScope();
    }

    private Tensor Encode(Tensor ids, Tensor mask)
    {
        if (_trainsEncoder)
            return _encoder.call(ids, mask);
        using var frozen = no_grad();
        return _encoder.call(ids, mask);
    }
}
