using System.Text.Json;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Golden;

/// <summary>The models of the golden cases, written as plain TorchSharp modules with the reference's layer names.</summary>
internal static class GoldenModels
{
    /// <summary>Builds a model; images come as NCHW.</summary>
    /// <param name="name">The model's name; <c>ops_fused</c> is <c>ops</c> with GELU as one op.</param>
    /// <param name="parameters">The shapes of its parameters in the reference's layout, by path with dots.</param>
    /// <param name="args">The case's model arguments.</param>
    public static Module<Tensor, Tensor> Build(string name, IReadOnlyDictionary<string, long[]> parameters, JsonElement args) => name switch
    {
        "mlp" or "mlp_bias" => new Mlp(parameters),
        "cnn" => new Cnn(parameters),
        "attention" => new AttentionModel(parameters, args.GetProperty("heads").GetInt64()),
        "nested" => new Nested(parameters),
        "resnet" => new ResNet(parameters),
        "ops" => new OpsModel(parameters, GeluOfParts),
        "ops_fused" => new OpsModel(parameters, x => functional.gelu(x, TorchSharp.Modules.GELU.Approximate.tanh)),
        _ => throw new NotSupportedException($"No golden model \"{name}\"."),
    };

    /// <summary>Whether the model's input is an image, NHWC in the reference.</summary>
    public static bool TakesImages(string name) => name is "cnn" or "resnet";

    /// <summary>GELU in its tanh form, step by step as the reference computes it.</summary>
    private static Tensor GeluOfParts(Tensor w) => 0.5 * w * (1 + (Math.Sqrt(2 / Math.PI) * (w + (0.044715 * w.pow(3)))).tanh());

    private static Linear Dense(IReadOnlyDictionary<string, long[]> p, string path)
    {
        var kernel = p[path + ".kernel"];
        return Linear(kernel[0], kernel[1], hasBias: p.ContainsKey(path + ".bias"));
    }

    private static Conv2d Conv(IReadOnlyDictionary<string, long[]> p, string path, long stride, long padding)
    {
        var kernel = p[path + ".kernel"];
        return Conv2d(kernel[2], kernel[3], (kernel[0], kernel[1]), (stride, stride), (padding, padding), bias: p.ContainsKey(path + ".bias"));
    }

    private sealed class Mlp : Module<Tensor, Tensor>
    {
        private readonly Linear Dense_0;
        private readonly Linear Dense_1;

        public Mlp(IReadOnlyDictionary<string, long[]> p) : base("mlp")
        {
            (Dense_0, Dense_1) = (Dense(p, "Dense_0"), Dense(p, "Dense_1"));
            RegisterComponents();
        }

        public override Tensor forward(Tensor x) => Dense_1.call(functional.relu(Dense_0.call(x)));
    }

    private sealed class Cnn : Module<Tensor, Tensor>
    {
        private readonly Conv2d Conv_0;
        private readonly Conv2d Conv_1;
        private readonly Linear Dense_0;
        private readonly Linear Dense_1;

        public Cnn(IReadOnlyDictionary<string, long[]> p) : base("cnn")
        {
            (Conv_0, Conv_1) = (Conv(p, "Conv_0", 1, 1), Conv(p, "Conv_1", 2, 0));
            (Dense_0, Dense_1) = (Dense(p, "Dense_0"), Dense(p, "Dense_1"));
            RegisterComponents();
        }

        public override Tensor forward(Tensor x)
        {
            x = functional.avg_pool2d(functional.relu(Conv_0.call(x)), 2, 2);
            x = functional.relu(Conv_1.call(x)).permute(0, 2, 3, 1).flatten(1);
            return Dense_1.call(functional.relu(Dense_0.call(x)));
        }
    }

    private sealed class AttentionModel : Module<Tensor, Tensor>
    {
        private readonly Linear q_proj;
        private readonly Linear k_proj;
        private readonly Linear v_proj;
        private readonly Linear o_proj;
        private readonly long _heads;

        public AttentionModel(IReadOnlyDictionary<string, long[]> p, long heads) : base("attention")
        {
            _heads = heads;
            (q_proj, k_proj, v_proj, o_proj) = (Dense(p, "q_proj"), Dense(p, "k_proj"), Dense(p, "v_proj"), Dense(p, "o_proj"));
            RegisterComponents();
        }

        public override Tensor forward(Tensor x)
        {
            long b = x.shape[0], t = x.shape[1], d = x.shape[2] / _heads;
            Tensor Heads(Linear projection) => projection.call(x).view(b, t, _heads, d);
            Tensor q = Heads(q_proj), k = Heads(k_proj), v = Heads(v_proj);
            var weights = (einsum("bqhd,bkhd->bhqk", q, k) / Math.Sqrt(d)).softmax(-1);
            return x + o_proj.call(einsum("bhqk,bkhd->bqhd", weights, v).reshape(b, t, -1));
        }
    }

    private sealed class Block : Module<Tensor, Tensor>
    {
        private readonly Linear gate;
        private readonly Linear up;
        private readonly Linear down;

        public Block(IReadOnlyDictionary<string, long[]> p, string path) : base("block")
        {
            (gate, up, down) = (Dense(p, path + ".gate"), Dense(p, path + ".up"), Dense(p, path + ".down"));
            RegisterComponents();
        }

        public override Tensor forward(Tensor x)
        {
            Tensor g = gate.call(x), u = up.call(x);
            return x + down.call(functional.silu(g) * u);
        }
    }

    private sealed class Nested : Module<Tensor, Tensor>
    {
        private readonly Block block0;
        private readonly Block block1;
        private readonly Linear head;

        public Nested(IReadOnlyDictionary<string, long[]> p) : base("nested")
        {
            (block0, block1, head) = (new Block(p, "block0"), new Block(p, "block1"), Dense(p, "head"));
            RegisterComponents();
        }

        public override Tensor forward(Tensor x) => head.call(block1.call(block0.call(x)));
    }

    private sealed class ResNet : Module<Tensor, Tensor>
    {
        private readonly Conv2d conv0;
        private readonly Conv2d conv1;
        private readonly BatchNorm2d bn0;
        private readonly BatchNorm2d bn1;
        private readonly Linear fc;

        public ResNet(IReadOnlyDictionary<string, long[]> p) : base("resnet")
        {
            (conv0, conv1, fc) = (Conv(p, "conv0", 1, 1), Conv(p, "conv1", 1, 1), Dense(p, "fc"));
            (bn0, bn1) = (BatchNorm2d(p["bn0.scale"][0]), BatchNorm2d(p["bn1.scale"][0]));
            RegisterComponents();
        }

        public override Tensor forward(Tensor x)
        {
            var h = functional.relu(bn0.call(conv0.call(x)));
            var r = bn1.call(conv1.call(h));
            return fc.call(functional.max_pool2d(functional.relu(h + r), 2, 2).mean([2L, 3L]));
        }
    }

    private sealed class OpsModel : Module<Tensor, Tensor>
    {
        private readonly Linear a;
        private readonly Linear b;
        private readonly Linear c;
        private readonly LayerNorm n;
        private readonly Func<Tensor, Tensor> _gelu;

        public OpsModel(IReadOnlyDictionary<string, long[]> p, Func<Tensor, Tensor> gelu) : base("ops")
        {
            _gelu = gelu;
            (a, b, c, n) = (Dense(p, "a"), Dense(p, "b"), Dense(p, "c"), LayerNorm(p["n.scale"][0], 1e-6));
            RegisterComponents();
        }

        public override Tensor forward(Tensor x)
        {
            var h = a.call(x);
            var halves = h.chunk(2, -1);
            var y = cat([halves[0].sigmoid(), halves[1].tanh()], -1);
            var z = (functional.relu(h) * y) + 0.5;
            z = maximum(z, h) - y;
            var w = b.call(z);
            long features = c.weight.shape[1];
            w = w.reshape(w.shape[0], features, -1).transpose(1, 2);
            w = n.call(_gelu(w));
            return c.call(w.mean([1L])).softmax(-1);
        }
    }
}
