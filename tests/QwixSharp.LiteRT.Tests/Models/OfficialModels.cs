using QwixSharp.LiteRT.Tests.Files;
using QwixSharp.Tests.Golden;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.LiteRT.Tests.Models;

/// <summary>The models that the official converter was given, in TorchSharp, with their weights.</summary>
internal static class OfficialModels
{
    public static Module<Tensor, Tensor> Load(string name)
    {
        var tensors = Tensors(name);
        Module<Tensor, Tensor> model = name switch
        {
            "cnn" => new Cnn(),
            "mlp" => new Mlp(),
            "attention" => new SelfAttention(),
            _ => throw new NotSupportedException(name),
        };
        using var noGradient = no_grad();
        foreach (var (path, tensor) in model.named_parameters().Select(p => (p.name, (Tensor)p.parameter)).Concat(model.named_buffers()))
        {
            if (tensors.Names.Contains("state." + path))
                tensor.copy_(tensors.Read("state." + path));
        }

        model.eval();
        return model;
    }

    public static SafetensorsFile Tensors(string name) => new(OfficialFiles.PathOf(name + ".safetensors"));

    private sealed class Cnn : Module<Tensor, Tensor>
    {
        private readonly Conv2d c0 = Conv2d(1, 8, 3, padding: 1), c1 = Conv2d(8, 16, 3, stride: 2), dw = Conv2d(16, 16, 3, padding: 1, groups: 16);
        private readonly BatchNorm2d b0 = BatchNorm2d(8);
        private readonly Linear fc = Linear(16, 10);

        public Cnn() : base(nameof(Cnn)) => RegisterComponents();

        public override Tensor forward(Tensor x)
        {
            x = functional.avg_pool2d(functional.relu(b0.call(c0.call(x))), 2);
            x = functional.relu(c1.call(x));
            x = x + functional.relu(dw.call(x));
            return fc.call(x.mean([2, 3]));
        }
    }

    private sealed class Mlp : Module<Tensor, Tensor>
    {
        private readonly Linear a, b;

        public Mlp() : base(nameof(Mlp))
        {
            var tensors = Tensors("mlp");
            using Tensor first = tensors.Read("state.a.weight"), second = tensors.Read("state.b.weight");
            (a, b) = (Linear(first.shape[1], first.shape[0]), Linear(second.shape[1], second.shape[0]));
            RegisterComponents();
        }

        public override Tensor forward(Tensor x) => functional.softmax(b.call(functional.gelu(a.call(x), TorchSharp.Modules.GELU.Approximate.tanh)), -1);
    }

    private sealed class SelfAttention : Module<Tensor, Tensor>
    {
        private const int Heads = 4, Width = 32;
        private readonly LayerNorm n = LayerNorm(Width);
        private readonly Linear qkv = Linear(Width, 3 * Width), o = Linear(Width, Width);

        public SelfAttention() : base(nameof(SelfAttention)) => RegisterComponents();

        public override Tensor forward(Tensor x)
        {
            long batch = x.shape[0], length = x.shape[1];
            Tensor Split(Tensor t) => t.view(batch, length, Heads, Width / Heads).transpose(1, 2);
            var parts = qkv.call(n.call(x)).chunk(3, -1);
            var weights = functional.softmax(Split(parts[0]).matmul(Split(parts[1]).transpose(-2, -1)) / Math.Sqrt(Width / Heads), -1);
            return x + o.call(weights.matmul(Split(parts[2])).transpose(1, 2).reshape(batch, length, Width));
        }
    }
}
