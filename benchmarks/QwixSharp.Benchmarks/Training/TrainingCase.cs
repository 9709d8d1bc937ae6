using QwixSharp.Providers;
using QwixSharp.Rules;
using QwixSharp.Samples.Common;
using QwixSharp.Samples.Digits;
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Benchmarks.Training;

/// <summary>A model, a batch and a loss. Every contender makes its own of it, with the same numbers.</summary>
/// <param name="Name">What is printed.</param>
/// <param name="Goals">The most that a step may cost, plain steps being 1, with quantized products and with quantized gradients too.</param>
/// <param name="Make">Makes the model, quantized by the rules or plain, and the function that gives its loss.</param>
internal sealed record TrainingCase(string Name, (double Qat, double Gradients) Goals, Func<QuantizationRule?, (Module Model, Func<Tensor> Loss)> Make)
{
    internal static IEnumerable<TrainingCase> All() =>
    [
        Mlp(16, (1.3, 1.5)),
        Mlp(64, (1.1, 1.25)),
        Mlp(256, (0.95, 1.0)),
        new("digits CNN, batch 64", (1.25, 1.25), rule => Classifier(new DigitsCnn(), randn(64, 1, 8, 8), 10, rule)),
        new("ResNet-18, batch 8", (1.25, 1.25), rule => Classifier(torchvision.models.resnet18(), randn(8, 3, 224, 224), 1000, rule)),
        new("MiniLM, batch 16", (1.25, 1.25), MiniLM),
    ];

    private static TrainingCase Mlp(int batch, (double, double) goals) => new($"MLP, batch {batch}", goals, rule =>
    {
        var model = Sequential(("up", Linear(1024, 4096)), ("relu", ReLU()), ("down", Linear(4096, 1024)));
        Tensor x = randn(batch, 1024), target = randn(batch, 1024);
        var trained = Quantize(model, rule, x);
        return (trained, () => functional.mse_loss(trained.call(x), target));
    });

    private static (Module, Func<Tensor>) Classifier(Module<Tensor, Tensor> model, Tensor images, int classes, QuantizationRule? rule)
    {
        var labels = randint(0, classes, [images.shape[0]], int64);
        var trained = Quantize(model, rule, images);
        return (trained, () => functional.cross_entropy(trained.call(images), labels));
    }

    private static (Module, Func<Tensor>) MiniLM(QuantizationRule? rule)
    {
        Module<Tensor, Tensor, Tensor> model = new BertEncoder(new BertSize());
        Tensor ids = randint(0, 30000, [16, 64], int64), mask = ones(16, 64, int64), target = randn(16, 384);
        var trained = rule is null ? model : Qwix.QuantizeModel(model, new QtProvider([rule]), ids, mask);
        return (trained, () => functional.mse_loss(trained.call(ids, mask), target));
    }

    private static Module<Tensor, Tensor> Quantize(Module<Tensor, Tensor> model, QuantizationRule? rule, Tensor input) =>
        rule is null ? model : Qwix.QuantizeModel(model, new QtProvider([rule]), input);
}
