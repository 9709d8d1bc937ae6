using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Providers;

/// <summary>A product with a parameter of integers.</summary>
internal sealed class IntegerProduct : Module<Tensor, Tensor>
{
    private readonly Parameter w = new(ones(4, 6, ScalarType.Int64), requires_grad: false);

    public IntegerProduct() : base("integers") => RegisterComponents();

    public override Tensor forward(Tensor x) => x.matmul(w.t());
}

/// <summary>Every kind of layer that is quantized: embedding, convolution, recurrence, attention, linear, and a product of activations.</summary>
internal sealed class Mixed : Module<Tensor, Tensor>
{
    private readonly Embedding table;
    private readonly Conv1d conv;
    private readonly LSTM recurrent;
    private readonly MultiheadAttention attention;
    private readonly TransformerEncoderLayer encoder;
    private readonly Linear output;

    public Mixed() : base("mixed")
    {
        table = Embedding(40, 16);
        conv = Conv1d(16, 16, 3, padding: 1);
        recurrent = LSTM(16, 16, batchFirst: true);
        attention = MultiheadAttention(16, 2);
        encoder = TransformerEncoderLayer(16, 2, 32, 0.1);
        output = Linear(16, 8);
        RegisterComponents();
    }

    public static string[] Paths => ["table", "conv", "recurrent", "attention", "encoder", "output"];

    public override Tensor forward(Tensor ids)
    {
        var x = table.call(ids);
        x = x + functional.relu(conv.call(x.transpose(1, 2)).transpose(1, 2));
        x = x + recurrent.call(x).Item1;
        var t = x.transpose(0, 1);
        t = t + attention.call(t, t, t).Item1;
        t = encoder.call(t);
        x = t.transpose(0, 1);
        var scores = functional.softmax(matmul(x, x.transpose(1, 2)) / 4, -1);
        return output.call(matmul(scores, x));
    }
}

/// <summary>Which layer runs depends on the input: a quantized model meets the second one after it was made.</summary>
internal sealed class Branching : Module<Tensor, Tensor>
{
    private readonly Linear positive = Linear(32, 16);
    private readonly Linear negative = Linear(32, 16);

    public Branching() : base("branching") => RegisterComponents();

    public override Tensor forward(Tensor x) => x.sum().item<float>() >= 0 ? positive.call(x) : negative.call(x);
}

/// <summary>One layer at two places of the module tree, one called twice, and one parameter in two modules.</summary>
internal sealed class Sharing : Module<Tensor, Tensor>
{
    private readonly Linear first = Linear(16, 16);
    private readonly Linear alias;
    private readonly Linear tied = Linear(16, 16);

    public Sharing() : base("sharing")
    {
        alias = first;
        tied.weight = first.weight;
        RegisterComponents();
    }

    public override Tensor forward(Tensor x) => tied.call(functional.relu(alias.call(functional.relu(first.call(first.call(x))))));
}

/// <summary>A perceptron on any device.</summary>
internal sealed class Perceptron : Module<Tensor, Tensor>
{
    private readonly Sequential layers;

    public Perceptron(Device? device = null) : base("perceptron")
    {
        layers = Sequential(("a", Linear(32, 64, device: device)), ("act", GELU()), ("norm", LayerNorm(64, device: device)), ("b", Linear(64, 10, device: device)));
        RegisterComponents();
    }

    public override Tensor forward(Tensor x) => layers.call(x);
}

/// <summary>An attention block on any device.</summary>
internal sealed class AttentionBlock : Module<Tensor, Tensor>
{
    private readonly Linear q, k, v, o;

    public AttentionBlock(Device? device = null) : base("attention")
    {
        q = Linear(32, 32, device: device);
        k = Linear(32, 32, device: device);
        v = Linear(32, 32, device: device);
        o = Linear(32, 32, hasBias: false, device: device);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        Tensor Heads(Tensor t) => t.reshape(t.shape[0], t.shape[1], 4, 8).transpose(1, 2);
        var mixed = functional.scaled_dot_product_attention(Heads(q.call(x)), Heads(k.call(x)), Heads(v.call(x)));
        return x + o.call(mixed.transpose(1, 2).reshape(x.shape));
    }
}

/// <summary>A small convolutional net on any device.</summary>
internal sealed class ConvNet : Module<Tensor, Tensor>
{
    private readonly Conv2d conv0, conv1;
    private readonly BatchNorm2d norm;
    private readonly Linear output;

    public ConvNet(Device? device = null) : base("conv_net")
    {
        conv0 = Conv2d(3, 8, 3, padding: 1, device: device);
        norm = BatchNorm2d(8, device: device);
        conv1 = Conv2d(8, 16, 3, stride: 2, groups: 2, device: device);
        output = Linear(16, 5, device: device);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x) => output.call(functional.relu(conv1.call(functional.relu(norm.call(conv0.call(x))))).mean([2, 3]));
}
