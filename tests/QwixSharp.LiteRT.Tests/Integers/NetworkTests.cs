using QwixSharp.LiteRT.Tests.Export;
using QwixSharp.LiteRT.Tests.Runtime;
using QwixSharp.Providers;
using QwixSharp.Rules;
using QwixSharp.Samples.Common;
using QwixSharp.Samples.ResNet18;
using static TorchSharp.torch;
using static TorchSharp.torchvision;

namespace QwixSharp.LiteRT.Tests.Integers;

/// <summary>Whole networks on integers.</summary>
[Collection(RuntimeCollection.Name)]
[Trait("Category", "LiteRT")]
public sealed class NetworkTests(LiteRtRuntime runtime)
{
    [Theory]
    [InlineData("resnet18")]
    [InlineData("mobilenet_v2")]
    public void ConvolutionalNetworksHaveNothingInFloatingPoint(string name)
    {
        using var scope = NewDisposeScope();
        manual_seed(11);
        nn.Module<Tensor, Tensor> network = name == "resnet18" ? models.resnet18() : models.mobilenet_v2();
        Tensor[] images = [.. Enumerable.Range(0, 3).Select(_ => randn(1, 3, 32, 32))];
        var file = OnDevice.Check(runtime, network, images, OnDevice.Static());
        var graph = file.Subgraphs[0];
        Assert.DoesNotContain(graph.Tensors, t => t.Type == LiteRtType.Float32);
        Assert.DoesNotContain(graph.Operators, o => o.Name is "QUANTIZE" or "DEQUANTIZE");
        double weights = network.parameters().Sum(p => p.NumberOfElements);
        TestContext.Current.TestOutputHelper?.WriteLine($"{file.Length / weights:F3} {string.Join(' ', graph.Operators.CountBy(o => o.Name))}");
    }

    /// <summary>One of each other family of TorchVision's. They take long, and run when asked for: <c>-explicit on</c>.</summary>
    [Theory(Explicit = true)]
    [InlineData("alexnet", 96)]
    [InlineData("googlenet", 64)]
    [InlineData("inception_v3", 128)]
    [InlineData("mobilenet_v3_small", 64)]
    [InlineData("mobilenet_v3_large", 64)]
    [InlineData("resnext50_32x4d", 64)]
    [InlineData("vgg11_bn", 32)]
    public void OtherFamiliesAgree(string name, int size)
    {
        using var scope = NewDisposeScope();
        manual_seed(11);
        nn.Module<Tensor, Tensor> network = name switch
        {
            "alexnet" => models.alexnet(),
            "googlenet" => models.googlenet(),
            "inception_v3" => models.inception_v3(),
            "mobilenet_v3_small" => models.mobilenet_v3_small(),
            "mobilenet_v3_large" => models.mobilenet_v3_large(),
            "resnext50_32x4d" => models.resnext50_32x4d(),
            _ => models.vgg11_bn(),
        };
        // Without statistics of its batch norms, values of a random network shrink until hard-swish has no bits left for them.
        using (no_grad())
            for (int i = 0; i < 20 && name.StartsWith("mobilenet_v3", StringComparison.Ordinal); i++)
                network.call(randn(4, 3, size, size)).Dispose();
        OnDevice.Check(runtime, network, [.. Enumerable.Range(0, 3).Select(_ => randn(1, 3, size, size))], OnDevice.Static());
    }

    [Fact]
    public void ResNet18WithItsWeightsAgrees()
    {
        using var scope = NewDisposeScope();
        using var network = PretrainedResNet18.Load();
        // Stripes and checks of several widths: any images will do.
        var mean = PretrainedResNet18.LoadMeanImage();
        var line = arange(224, ScalarType.Float32);
        Tensor[] images = [.. new[] { 9, 32, 75 }.Select(width => ((line.remainder(width) * (255f / width)).unsqueeze(0) + (line.remainder(width + 11) * (255f / (width + 11))).unsqueeze(1)).div(2).expand(1, 3, 224, 224) - mean)];
        var file = OnDevice.Check(runtime, network, images, OnDevice.Static());
        Assert.InRange(file.Length, 0, network.parameters().Sum(p => p.NumberOfElements) * 1.05);
    }

    [Theory]
    [InlineData("int8", 1.0)]
    [InlineData("int4", 0.5)]
    public void AnEncoderWithIntegerWeightsIsSmall(string weights, double bytes)
    {
        using var scope = NewDisposeScope();
        manual_seed(11);
        var encoder = new BertEncoder(new BertSize(Vocabulary: 2000, Positions: 64, Width: 256, Inner: 1024, Layers: 2, Heads: 4));
        Tensor ids = randint(1, 2000, [1, 16], ScalarType.Int64), mask = ones(1, 16, ScalarType.Int64);
        QuantizationRule[] rules = [new() { WeightQType = weights }];
        encoder.eval();
        using var training = Qwix.QuantizeModel(encoder, new OdmlQatProvider(rules), ids, mask);
        using var converted = Qwix.QuantizeModel(encoder, new OdmlConversionProvider(rules, encoder.state_dict(), training.QuantStats), ids, mask);
        var file = Exported.Check(runtime, converted, [ids, mask]);
        double parameters = encoder.parameters().Sum(p => p.NumberOfElements);
        TestContext.Current.TestOutputHelper?.WriteLine($"{file.Length / parameters:F3} {string.Join(' ', file.Subgraphs[0].Operators.CountBy(o => o.Name))}");
        // Scales, biases and tables are more of a small model than of a large one.
        Assert.InRange(file.Length / parameters, 0, bytes * 1.15);
    }
}
