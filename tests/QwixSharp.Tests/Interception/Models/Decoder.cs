using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Interception.Models;

public readonly record struct DecoderSize(int Vocabulary, int Width, int Heads, int Layers)
{
    public readonly int HeadWidth => Width / Heads;
}

/// <summary>A small causal transformer in the manner of model code: helpers, closures, indexers, LINQ, dispose scopes.</summary>
public class Decoder : Module<Tensor, Tensor>
{
    private readonly Embedding _tokens;
    private readonly ModuleList<DecoderBlock> _blocks;
    private readonly ModuleDict<LayerNorm> _norms;
    private readonly Linear _head;

    public Decoder(DecoderSize size) : base("decoder")
    {
        _tokens = Embedding(size.Vocabulary, size.Width);
        _blocks = new(Enumerable.Range(0, size.Layers).Select(_ => new DecoderBlock(size)).ToArray());
        _norms = ModuleDict(("final", LayerNorm(size.Width)));
        _head = Linear(size.Width, size.Vocabulary, hasBias: false);
        RegisterComponents();
    }

    public override Tensor forward(Tensor ids)
    {
        var x = _tokens.call(ids);
        long[] shape = [ids.shape[1], ids.shape[1]];
        var mask = full(shape, float.NegativeInfinity).triu(1);
        foreach (var block in _blocks) x = block.call(x, mask);
        return _head.forward(_norms["final"].call(x));
    }
}

public class DecoderBlock : Module<Tensor, Tensor, Tensor>
{
    private readonly LayerNorm _norm1;
    private readonly LayerNorm _norm2;
    private readonly Attention _attention;
    private readonly Linear _up;
    private readonly Linear _gate;
    private readonly Linear _down;
    private readonly Func<Tensor, Tensor> _activation = t => functional.silu(t);

    public DecoderBlock(DecoderSize size) : base("block")
    {
        _norm1 = LayerNorm(size.Width);
        _norm2 = LayerNorm(size.Width);
        _attention = new Attention(size);
        _up = Linear(size.Width, 4 * size.Width);
        _gate = Linear(size.Width, 4 * size.Width);
        _down = Linear(4 * size.Width, size.Width);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x, Tensor mask)
    {
        x = x + _attention.call(Apply(_norm1, x), mask);
        Tensor Mlp(Tensor t) => _down.forward(_activation(_gate.forward(t)) * _up.call(t));
        return x + Mlp(_norm2.call(x));
    }

    private static T Apply<T, TModule>(TModule module, T x) where TModule : Module<T, T> => module.call(x);
}

public class Attention : Module<Tensor, Tensor, Tensor>
{
    private readonly Linear _qkv;
    private readonly Linear _out;
    private readonly DecoderSize _size;

    public Attention(DecoderSize size) : base("attention")
    {
        _size = size;
        _qkv = Linear(size.Width, 3 * size.Width);
        _out = Linear(size.Width, size.Width, hasBias: false);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x, Tensor mask)
    {
        using var scope = NewDisposeScope();
        var parts = _qkv.forward(x).chunk(3, dim: -1);
        Tensor q = Split(parts[0]), k = Split(parts[1]), v = Split(parts[2]);
        var weights = softmax((q.matmul(k.transpose(-2, -1)) / Math.Sqrt(_size.HeadWidth)) + mask, -1);
        var y = einsum("bhqk,bhkd->bhqd", weights, v).transpose(1, 2).contiguous().view(x.shape[0], x.shape[1], _size.Width);
        return _out.call(y).MoveToOuterDisposeScope();
    }

    private Tensor Split(Tensor t) => t.view(t.shape[0], t.shape[1], _size.Heads, _size.HeadWidth).transpose(1, 2);
}
