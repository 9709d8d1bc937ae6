using QwixSharp.Arrays;
using QwixSharp.Benchmarks.Peers;
using QwixSharp.Providers;
using QwixSharp.Rules;
using QwixSharp.Samples.Common;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Benchmarks.Figures;

/// <summary>The figures of whole models: quantized by us, and by ONNX Runtime from the same (random) weights.</summary>
internal static class ModelFigures
{
    private const int Tokens = 64;
    private const double FewestCosine = 0.99;

    // All weights are drawn from the same seed, so that every candidate makes the same model.
    private const long Seed = 5;

    /// <summary>The MiniLM encoder on sentences of 64 tokens, activations quantized at each call.</summary>
    public static IEnumerable<Figure> MiniLM(int sentences, int threads, Goal goal)
    {
        var peer = new Candidate("ONNX Runtime, dynamic int8 model", () =>
        {
            var (encoder, ids, mask) = Encoder(sentences);
            using (encoder)
                return Peer(new OnnxModel(OnnxMiniLM.Of(encoder, new BertSize(), sentences, Tokens), threads, ("ids", ids), ("mask", mask)), encoder.call(ids, mask));
        });
        foreach (var (name, qtype, tile) in new (string, string, Tiling?)[] { ("W8A8", "int8", null), ("W4A8 tile 32", "int4", 32) })
        {
            var rule = new QuantizationRule { ModulePath = @"layers\.\d+\.\w+", WeightQType = qtype, TileSize = tile, ActQType = "int8" };
            yield return new($"MiniLM {name}, {sentences} × {Tokens} tokens", goal, new Candidate($"ours, {name}", () =>
            {
                var (encoder, ids, mask) = Encoder(sentences);
                var quantized = Qwix.QuantizeModel(encoder, new PtqProvider([rule]), ids, mask);
                return Ours(() => quantized.call(ids, mask), encoder.call(ids, mask), quantized, encoder);
            }), peer);
        }
    }

    /// <summary>ResNet-18 on one image, with ranges of activations known beforehand.</summary>
    public static Figure ResNet18(int threads, Goal goal) =>
        Images("ResNet-18", () => torchvision.models.resnet18(), network => new OnnxResNet(network), threads, goal);

    /// <summary>MobileNetV2 on one image, with ranges of activations known beforehand.</summary>
    public static Figure MobileNetV2(int threads, Goal goal) =>
        Images("MobileNetV2", () => torchvision.models.mobilenet_v2(), network => new OnnxMobileNet(network), threads, goal);

    /// <summary>ResNet-18 on one image whose activations we quantize with the ranges that they have; the peer knows them beforehand.</summary>
    public static Figure ResNet18Dynamic(int threads, Goal goal) =>
        Images("ResNet-18", () => torchvision.models.resnet18(), network => new OnnxResNet(network), threads, goal, isStatic: false);

    private static Figure Images(string name, Func<nn.Module<Tensor, Tensor>> make, Func<nn.Module, OnnxImageNetwork> peer, int threads, Goal goal, bool isStatic = true)
    {
        var kind = isStatic ? "static" : "dynamic";
        var ours = new Candidate($"ours, {kind} int8", () =>
        {
            var (network, image) = Network(make);
            var rule = new QuantizationRule { WeightQType = "int8", ActQType = "int8", ActStaticScale = isStatic };
            var quantized = Qwix.QuantizeModel(network, new PtqProvider([rule]), image);
            return Ours(() => quantized.call(image), network.call(image), quantized, network);
        });
        return new($"{name} {kind} int8, one image of 224", goal, ours, new Candidate("ONNX Runtime, QDQ int8 model", () =>
        {
            var (network, image) = Network(make);
            using (network)
                return Peer(new OnnxModel(peer(network).Model(image), threads, ("x", image)), network.call(image));
        }));
    }

    private static (BertEncoder Encoder, Tensor Ids, Tensor Mask) Encoder(int sentences)
    {
        manual_seed(Seed);
        var encoder = new BertEncoder(new BertSize());
        encoder.eval();
        return (encoder, randint(0, 30000, [sentences, Tokens], int64), ones(sentences, Tokens, int64));
    }

    private static (nn.Module<Tensor, Tensor> Network, Tensor Image) Network(Func<nn.Module<Tensor, Tensor>> make)
    {
        manual_seed(Seed);
        var network = make();
        network.eval();
        return (network, randn(1, 3, 224, 224));
    }

    private static Prepared Ours(Func<Tensor> run, Tensor reference, params IDisposable[] owned) => new(
        () => run().Dispose(),
        () => AreAlike(run(), reference),
        () => Array.ForEach(owned, o => o.Dispose()));

    private static Prepared Peer(OnnxModel model, Tensor reference) => new(model.Run, () => AreAlike(model.Result(), reference), model.Dispose);

    private static bool AreAlike(Tensor result, Tensor reference)
    {
        using var scope = NewDisposeScope();
        return nn.functional.cosine_similarity(result, reference, dim: -1).min().item<float>() >= FewestCosine;
    }
}
