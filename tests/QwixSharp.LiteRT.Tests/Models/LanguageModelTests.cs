using QwixSharp.LiteRT.Tests.Export;
using QwixSharp.LiteRT.Tests.Integers;
using QwixSharp.LiteRT.Tests.Runtime;
using QwixSharp.Samples.Common;
using QwixSharp.Samples.ResNet18;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.LiteRT.Tests.Models;

/// <summary>Models of other kinds, two of them with real weights.</summary>
[Collection(RuntimeCollection.Name)]
[Trait("Category", "LiteRT")]
public sealed class LanguageModelTests(LiteRtRuntime runtime)
{
    [Fact]
    public void MiniLMWithItsWeightsAgrees()
    {
        using var scope = NewDisposeScope();
        var ids = tensor(new[,] { { 101, 2023, 2003, 1037, 7099, 102, 0, 0 }, { 101, 7592, 2088, 999, 2129, 2024, 2017, 102 } });
        var mask = ids.ne(0).to(ScalarType.Int32);
        using var encoder = MiniLM.Load();
        var file = Exported.Check(runtime, encoder, [ids, mask]);
        Assert.InRange(file.Length, 0, encoder.parameters().Sum(p => p.NumberOfElements) * 4 * 1.05);
    }

    [Fact]
    public void ResNet18WithItsWeightsAgrees()
    {
        using var scope = NewDisposeScope();
        using var network = PretrainedResNet18.Load();
        // Grey stripes: any image will do.
        var image = (arange(224).remainder(32) * 8f).expand(1, 3, 224, 224) - PretrainedResNet18.LoadMeanImage();
        var file = Exported.Check(runtime, network, [image]);
        Assert.InRange(file.Length, 0, network.parameters().Sum(p => p.NumberOfElements) * 4 * 1.05);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("int8")]
    [InlineData("int4")]
    public void ASmallGptAgrees(string? weights)
    {
        using var scope = NewDisposeScope();
        manual_seed(11);
        var model = new Gpt(vocabulary: 50, context: 12, width: 32, heads: 4, layers: 2);
        var tokens = tensor(new[] { 3, 14, 15, 9, 26, 5, 35, 8, 9, 7, 49, 0 }).view(1, 12);
        if (weights is null)
        {
            var file = Exported.Check(runtime, model, [tokens]);
            // The table of tokens and the last layer are one parameter, and are stored once.
            Assert.InRange(file.Length, 0, (model.parameters().Sum(p => p.NumberOfElements) * 4 * 1.05) + (400 * file.Subgraphs[0].Operators.Count));
        }
        else
        {
            OnDevice.Check(runtime, model, [tokens], [new() { WeightQType = weights }]);
        }
    }

    private sealed class Gpt : Module<Tensor, Tensor>
    {
        private readonly Embedding tokens, positions;
        private readonly ModuleList<Block> blocks = new();
        private readonly LayerNorm norm;

        public Gpt(int vocabulary, int context, int width, int heads, int layers) : base(nameof(Gpt))
        {
            (tokens, positions, norm) = (Embedding(vocabulary, width), Embedding(context, width), LayerNorm(width));
            for (int i = 0; i < layers; i++)
                blocks.Add(new Block(width, heads));
            RegisterComponents();
        }

        public override Tensor forward(Tensor ids)
        {
            var x = tokens.call(ids) + positions.call(arange(ids.shape[1], device: ids.device));
            foreach (var block in blocks)
                x = block.call(x);
            return norm.call(x).matmul(tokens.weight!.t());
        }
    }

    private sealed class Block : Module<Tensor, Tensor>
    {
        private readonly int _heads;
        private readonly LayerNorm ln_1, ln_2;
        private readonly Linear attention, projection, up, down;

        public Block(int width, int heads) : base(nameof(Block))
        {
            _heads = heads;
            (ln_1, ln_2) = (LayerNorm(width), LayerNorm(width));
            (attention, projection, up, down) = (Linear(width, 3 * width), Linear(width, width), Linear(width, 4 * width), Linear(4 * width, width));
            RegisterComponents();
        }

        public override Tensor forward(Tensor x)
        {
            var (batch, length, width) = (x.shape[0], x.shape[1], x.shape[2]);
            var parts = attention.call(ln_1.call(x)).split(width, 2).Select(p => p.view(batch, length, _heads, width / _heads).transpose(1, 2)).ToArray();
            var mixed = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_casual: true);
            x = x + projection.call(mixed.transpose(1, 2).contiguous().view(batch, length, width));
            return x + down.call(functional.gelu(up.call(ln_2.call(x)), TorchSharp.Modules.GELU.Approximate.tanh));
        }
    }
}
