using QwixSharp.LiteRT.Tests.Export;
using QwixSharp.LiteRT.Tests.Runtime;
using static TorchSharp.torch;
using static TorchSharp.torchvision;

namespace QwixSharp.LiteRT.Tests.Models;

/// <summary>The classification models of TorchVision, on the smallest images that they take.</summary>
[Collection(RuntimeCollection.Name)]
[Trait("Category", "LiteRT")]
public sealed class TorchVisionTests(LiteRtRuntime runtime)
{
    private static readonly Dictionary<string, (Func<nn.Module<Tensor, Tensor>> Make, int Size)> Networks = new()
    {
        ["alexnet"] = (() => models.alexnet(), 64),
        ["googlenet"] = (() => models.googlenet(), 32),
        ["inception_v3"] = (() => models.inception_v3(), 75),
        ["mobilenet_v2"] = (() => models.mobilenet_v2(), 32),
        ["mobilenet_v3_small"] = (() => models.mobilenet_v3_small(), 32),
        ["mobilenet_v3_large"] = (() => models.mobilenet_v3_large(), 32),
        ["resnet18"] = (() => models.resnet18(), 32),
        ["resnet34"] = (() => models.resnet34(), 32),
        ["resnet50"] = (() => models.resnet50(), 32),
        ["resnet101"] = (() => models.resnet101(), 32),
        ["resnet152"] = (() => models.resnet152(), 32),
        ["resnext50_32x4d"] = (() => models.resnext50_32x4d(), 32),
        ["resnext101_32x8d"] = (() => models.resnext101_32x8d(), 32),
        ["resnext101_64x4d"] = (() => models.resnext101_64x4d(), 32),
        ["wide_resnet50_2"] = (() => models.wide_resnet50_2(), 32),
        ["wide_resnet101_2"] = (() => models.wide_resnet101_2(), 32),
        ["vgg11"] = (() => models.vgg11(), 32),
        ["vgg11_bn"] = (() => models.vgg11_bn(), 32),
        ["vgg13"] = (() => models.vgg13(), 32),
        ["vgg13_bn"] = (() => models.vgg13_bn(), 32),
        ["vgg16"] = (() => models.vgg16(), 32),
        ["vgg16_bn"] = (() => models.vgg16_bn(), 32),
        ["vgg19"] = (() => models.vgg19(), 32),
        ["vgg19_bn"] = (() => models.vgg19_bn(), 32),
    };

    /// <summary>One network of each kind; making all of them takes minutes, so the others run when asked for: <c>-explicit on</c>.</summary>
    private static readonly HashSet<string> Always = ["alexnet", "googlenet", "mobilenet_v2", "mobilenet_v3_small", "resnet18", "resnext50_32x4d"];

    public static IEnumerable<TheoryDataRow<string>> Names => Networks.Keys.Select(name => new TheoryDataRow<string>(name) { Explicit = !Always.Contains(name) });

    [Theory]
    [MemberData(nameof(Names))]
    public void TheNetworkAgrees(string name)
    {
        using var scope = NewDisposeScope();
        var (make, size) = Networks[name];
        manual_seed(11);
        using var model = make();
        var image = randn([1, 3, size, size], generator: new Generator(3));
        var file = Exported.Check(runtime, model, [image]);
        // Beside the first, which makes the image channels-last.
        Assert.InRange(file.Subgraphs[0].Operators.Count(o => o.Name == "TRANSPOSE"), 0, 1);
        TestContext.Current.TestOutputHelper?.WriteLine(string.Join(' ', file.Subgraphs[0].Operators.CountBy(o => o.Name)));
    }
}
