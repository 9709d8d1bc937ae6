using System.Text.Json;
using QwixSharp.Providers;
using QwixSharp.Rules;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Golden;

[Trait("Category", "Golden")]
[Trait("Family", "training")]
public class TrainingGoldenTests(ITestOutputHelper output)
{
    private const string Family = "training";

    public static IEnumerable<TheoryDataRow<string>> Cases() => GoldenFamily.Rows(Family);

    public static IEnumerable<TheoryDataRow<int>> Refusals() => GoldenFamily.Refusals(Family);

    [Theory]
    [MemberData(nameof(Cases))]
    public void OneStepAgrees(string name)
    {
        using var scope = NewDisposeScope();
        var family = GoldenFamily.Load(Family);
        var json = family.Case(name);
        var test = new PtqCase(family, json);
        var rules = Rules(json);
        using var model = test.BuildModel();
        model.load_state_dict(test.Parameters, strict: false);
        using var quantized = Qwix.QuantizeModel(model, new QtProvider(rules), test.Input);
        InTraining(quantized);

        var y = quantized.call(test.Input);
        var loss = (y - test.Tensor("target")).square().mean();
        loss.backward();

        double least = rules.All(r => r is { ActQType: null } and not QtRule { BwdQType: not null, WeightQType: not null }) ? 100 : 42;
        AssertSnr("output", test.Tensor("output"), y, least);
        float expectedLoss = json.GetProperty("loss_value").GetSingle();
        Assert.Equal(expectedLoss, loss.item<float>(), 1e-3f * expectedLoss);
        var parameters = model.named_parameters().ToDictionary(p => p.name, p => p.parameter);
        var expected = json.GetProperty("grads").EnumerateObject().ToList();
        Assert.Equal(parameters.Keys.Order(), expected.Select(g => GoldenLayout.Name(g.Name.Replace('/', '.'))).Order());
        foreach (var gradient in expected)
        {
            var tensor = GoldenValue.Tensor(family, gradient.Value.GetProperty("array"));
            AssertSnr(gradient.Name, gradient.Name.EndsWith("kernel") ? GoldenLayout.Kernel(tensor) : tensor, parameters[GoldenLayout.Name(gradient.Name.Replace('/', '.'))].grad!, least);
        }

        var statistics = quantized.QuantStats.ToTensors();
        var expectedStatistics = json.GetProperty("quant_stats").EnumerateObject().ToList();
        Assert.Equal(expectedStatistics.Select(s => s.Name.Replace('/', '.')).Order(StringComparer.Ordinal), statistics.Keys);
        foreach (var statistic in expectedStatistics)
        {
            var tensor = GoldenValue.Tensor(family, statistic.Value);
            GoldenValue.AssertClose(GoldenModels.TakesImages(json.GetProperty("model").GetString()!) ? GoldenLayout.ActivationScale(tensor) : tensor, statistics[statistic.Name.Replace('/', '.')], 1e-4);
        }
    }

    [Theory]
    [MemberData(nameof(Refusals))]
    public void RefusalsOfNumbersAreRefusedHereToo(int index)
    {
        using var scope = NewDisposeScope();
        var family = GoldenFamily.Load(Family);
        var (refused, sibling) = family.Refusal(index);
        var test = new PtqCase(family, sibling);
        var rules = Rules(refused, forTraining: true);
        using var module = test.BuildModel();
        module.load_state_dict(test.Parameters, strict: false);

        Tensor Step()
        {
            var quantized = Qwix.QuantizeModel(module, new QtProvider(rules), test.Input);
            InTraining(quantized);
            var y = quantized.call(test.Input);
            y.square().mean().backward();
            return y;
        }

        if (GoldenFamily.IsRefusedHereToo(refused, Step))
            return;

        // What the reference refuses of convolutions (mixed types, weights alone) runs here.
        rules = [.. TilesThatDivide(rules)];
        double snr = GoldenValue.Snr(module.call(test.Input), Step());
        Assert.True(snr > 0, $"SNR against floating point is {snr:f1} dB");
        Assert.All(module.parameters(), p => Assert.True(p.grad!.isfinite().all().item<bool>()));
    }

    private static QuantizationRule[] Rules(JsonElement test, bool forTraining = false) =>
        [.. test.GetProperty("rules").EnumerateArray().Select(r => GoldenLayout.Rule(r, forTraining || test.GetProperty("rule_class").GetString() == "QtRule"))];

    /// <summary>Statistics are gathered in training mode, but those of batch normalization stay as the case has them.</summary>
    private static void InTraining(QuantizedModule<Tensor, Tensor> model)
    {
        model.train();
        foreach (var norm in model.Original.modules().OfType<BatchNorm2d>())
            norm.eval();
    }

    /// <summary>The convolution is what the case is about: dense layers whose width no tile divides go without tiles.</summary>
    private static IEnumerable<QuantizationRule> TilesThatDivide(IEnumerable<QuantizationRule> rules) => rules.SelectMany(r => new[]
    {
        r with { OpNames = [OpNames.ConvGeneralDilated], WeightQType = r.WeightQType!.IsMicroScaled ? "fp8" : r.WeightQType, ActQType = r.ActQType is { IsMicroScaled: true } ? "fp8" : r.ActQType },
        r with { TileSize = null, WeightQType = r.WeightQType!.IsMicroScaled ? "fp8" : r.WeightQType, ActQType = r.ActQType is { IsMicroScaled: true } ? "fp8" : r.ActQType },
    });

    private void AssertSnr(string what, Tensor expected, Tensor actual, double least)
    {
        double snr = GoldenValue.Snr(expected, actual);
        output.WriteLine($"SNR {snr:f1} dB (at least {least}) {what}");
        Assert.True(snr >= least, $"{what}: SNR {snr:f1} dB; {least} is the least");
    }
}
