using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Providers;

/// <summary>A module whose forward pass is a function, with parameters that the function may use.</summary>
internal sealed class Functional : Module<Tensor, Tensor>
{
    private readonly Func<Functional, Tensor, Tensor> _forward;

    public Functional(Tensor weight, Func<Functional, Tensor, Tensor> forward, Tensor? bias = null) : base("functional")
    {
        _forward = forward;
        W = new Parameter(weight);
        register_parameter("w", W);
        if (bias is null)
            return;
        B = new Parameter(bias);
        register_parameter("b", B);
    }

    public Parameter W { get; }

    public Parameter? B { get; }

    public override Tensor forward(Tensor x) => _forward(this, x);
}

/// <summary>Two linear layers with a batch norm and a dropout between, and a second public method.</summary>
internal sealed class TwoLayer : Module<Tensor, Tensor>
{
    private readonly Linear first = Linear(32, 64);
    private readonly BatchNorm1d norm = BatchNorm1d(64);
    private readonly Dropout drop = Dropout(0.5);
    private readonly Linear second = Linear(64, 16);

    public TwoLayer() : base("two_layer") => RegisterComponents();

    public Linear First => first;

    public Linear Second => second;

    public override Tensor forward(Tensor x) => second.call(encode(x));

    public Tensor encode(Tensor x) => drop.call(norm.call(functional.relu(first.call(x))));

    public async Task<Tensor> Later(Tensor x)
    {
        await Task.Yield();
        return forward(x);
    }
}

/// <summary>An embedding tied to the output layer.</summary>
internal sealed class Tied : Module<Tensor, Tensor>
{
    private readonly Embedding table = Embedding(40, 16);
    private readonly Linear mix = Linear(16, 16);

    public Tied() : base("tied") => RegisterComponents();

    public override Tensor forward(Tensor ids) => functional.linear(mix.call(table.call(ids)), table.weight!);
}

/// <summary>Adds up as many inputs as it has, each through the same linear layer.</summary>
internal sealed class Six : Module<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>
{
    private readonly Linear layer = Linear(8, 8);

    public Six() : base("six") => RegisterComponents();

    public override Tensor forward(Tensor a, Tensor b, Tensor c, Tensor d, Tensor e, Tensor f) => layer.call(a + b + c + d + e + f);
}

/// <summary>Two layers, of which the forward pass uses one and another method the other.</summary>
internal sealed class TwoHeads : Module<Tensor, Tensor>
{
    private readonly Linear a = Linear(8, 8);
    private readonly Linear b = Linear(8, 8);

    public TwoHeads() : base("two_heads") => RegisterComponents();

    public override Tensor forward(Tensor x) => a.call(x);

    public Tensor other(Tensor x) => b.call(x);
}
