using QwixSharp.Providers;
using QwixSharp.Rules;
using QwixSharp.Tests.Golden;
using QwixSharp.Tests.Interception;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Providers;

/// <summary>Every classification model of a library that was built long before, quantized whole.</summary>
[Collection(RandomState.Name)]
public class TorchVisionQuantizationTests
{
    public static TheoryData<string> Names => TorchVisionTests.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public void EveryLayerIsQuantizedAndTheOutputStaysClose(string name)
    {
        Assert.InRange(Quantized(name, new() { ModulePath = ".*", WeightQType = "int8" }), 27, 100);
    }

    [Theory]
    [InlineData("resnet18")]
    [InlineData("mobilenet_v3_small")]
    public void WithActivationsQuantizedTooTheOutputStaysClose(string name)
    {
        Assert.InRange(Quantized(name, new() { ModulePath = ".*", WeightQType = "int8", ActQType = "int8" }), 20, 100);
    }

    /// <summary>Quantizes a model by one rule, checks which weights that met, and gives the ratio of signal to noise in dB.</summary>
    private static double Quantized(string name, QuantizationRule rule)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var model = TorchVisionTests.Make(name);
        model.eval();
        using var generator = new Generator(17);
        var image = randn(TorchVisionTests.InputShape(name), generator: generator);
        var expected = model.call(image);

        using var quantized = Qwix.QuantizeModel(model, new PtqProvider([rule]), image);
        var actual = quantized.call(image);

        Assert.Equal(TorchVisionTests.LayerPaths(model).Select(path => path + ".weight").Order(StringComparer.Ordinal), quantized.Weights.Keys.Order(StringComparer.Ordinal));
        return GoldenValue.Snr(expected, actual);
    }
}
