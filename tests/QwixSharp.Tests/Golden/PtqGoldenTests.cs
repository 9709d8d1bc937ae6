using System.Text.Json;
using QwixSharp.Arrays;
using QwixSharp.Calibration;
using QwixSharp.Providers;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Golden;

[Trait("Category", "Golden")]
[Trait("Family", "ptq")]
public class PtqGoldenTests
{
    private const string Family = "ptq";

    public static IEnumerable<TheoryDataRow<string>> Cases() => GoldenFamily.Rows(Family);

    public static IEnumerable<TheoryDataRow<int>> Refusals() => GoldenFamily.Refusals(Family);

    [Theory]
    [MemberData(nameof(Cases))]
    public void QuantizedParamsAndOutputAgree(string name)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        var family = GoldenFamily.Load(Family);
        var test = new PtqCase(family, family.Case(name));
        using var model = test.BuildModel();
        model.load_state_dict(test.Parameters, strict: false);
        model.eval();
        GoldenValue.AssertClose(test.Tensor("fp_output"), model.call(test.Input), 1e-5);

        using var quantized = Qwix.QuantizeModel(model, new PtqProvider(test.Rules), test.Input);
        using var stats = test.QuantStats;
        var parameters = Qwix.QuantizeParams(test.Parameters, quantized, stats);
        string[] notInTheFile = [.. model.state_dict().Keys.Where(k => k.EndsWith("num_batches_tracked"))];
        quantized.load_state_dict(parameters, skip: notInTheFile);

        foreach (var (path, expected) in test.QuantizedWeights)
            GoldenValue.AssertSame(expected, quantized.Weights[path], test.Rules.Any(r => r.WeightCalibrationMethod.Kind == CalibrationKind.Rms));
        Assert.Equal(test.QuantizedWeights.Keys.Order(), quantized.Weights.Keys.Order());
        foreach (var (path, expected) in test.StaticScales)
            GoldenValue.AssertClose(expected, parameters[path], path.EndsWith("_scale") ? 1e-5 : 0);

        double snr = GoldenValue.Snr(test.Tensor("output"), quantized.call(test.Input));
        double least = test.Rules.Any(r => r.ActQType is not null) ? 45 : 100;
        Assert.True(snr >= least, $"SNR {snr:f1} dB; {least} is the least");
    }

    [Theory]
    [MemberData(nameof(Refusals))]
    public void RefusalsOfNumbersAreRefusedHereToo(int index)
    {
        using var scope = NewDisposeScope();
        var family = GoldenFamily.Load(Family);
        var (refused, sibling) = family.Refusal(index);
        var test = new PtqCase(family, sibling);
        var rules = refused.GetProperty("rules").EnumerateArray().Select(r => GoldenLayout.Rule(r)).ToArray();
        using var module = test.BuildModel();
        module.load_state_dict(test.Parameters, strict: false);

        if (GoldenFamily.IsRefusedHereToo(refused, () => Qwix.QuantizeModel(module, new PtqProvider(rules), test.Input)))
            return;

        // The reference refuses weight-only and mixed convolutions, and static scales on attention products; here they run.
        module.eval();
        var convolves = refused.GetProperty("message").GetString()!.Contains("conv_general_dilated");
        using var quantized = Qwix.QuantizeModel(module, new PtqProvider(convolves ? TilesThatDivide(rules) : rules), test.Input);
        double snr = GoldenValue.Snr(module.call(test.Input), quantized.call(test.Input));
        Assert.True(snr > 0, $"SNR against floating point is {snr:f1} dB");
    }

    /// <summary>The convolution is what the case is about: dense layers whose width no tile divides go without tiles.</summary>
    private static IEnumerable<QuantizationRule> TilesThatDivide(IEnumerable<QuantizationRule> rules) =>
        rules.SelectMany(r => new[] { r with { OpNames = [OpNames.ConvGeneralDilated] }, r with { TileSize = null, WeightQType = r.WeightQType!.IsMicroScaled ? "fp8" : r.WeightQType } });
}

/// <summary>A case of the family ptq in PyTorch's layout.</summary>
internal sealed class PtqCase(GoldenFamily family, JsonElement test)
{
    private readonly string _model = test.GetProperty("model").GetString()!;

    public QuantizationRule[] Rules => [.. test.GetProperty("rules").EnumerateArray().Select(r => GoldenLayout.Rule(r))];

    public Tensor Input => Layout(Tensor("x"));

    public QuantStats? QuantStats => test.GetProperty("quant_stats").EnumerateObject().Any()
        ? Calibration.QuantStats.FromTensors(test.GetProperty("quant_stats").EnumerateObject().ToDictionary(
            p => p.Name.Replace('/', '.'), p => GoldenLayout.ActivationScale(GoldenValue.Tensor(family, p.Value))))
        : null;

    /// <summary>Floating-point parameters and batch statistics.</summary>
    public Dictionary<string, Tensor> Parameters
    {
        get
        {
            var result = new Dictionary<string, Tensor>();
            foreach (var group in new[] { test.GetProperty("params"), test.GetProperty("extra") })
            {
                foreach (var (name, value) in GoldenValue.Flatten(group))
                {
                    var tensor = GoldenValue.Tensor(family, value.TryGetProperty("array", out var array) ? array : value);
                    result[GoldenLayout.Name(name)] = name.EndsWith(".kernel") ? GoldenLayout.Kernel(tensor) : tensor;
                }
            }

            return result;
        }
    }

    public Dictionary<string, QArray> QuantizedWeights => GoldenValue.Flatten(test.GetProperty("quantized"))
        .Where(p => GoldenValue.IsQuantized(p.Value))
        .ToDictionary(p => GoldenLayout.Name(p.Name), p => GoldenLayout.Kernel(GoldenValue.QArray(family, p.Value)));

    public Dictionary<string, Tensor> StaticScales => GoldenValue.Flatten(test.GetProperty("quantized"))
        .Where(p => !GoldenValue.IsQuantized(p.Value) && (p.Name.EndsWith("_scale") || p.Name.EndsWith("_zero_point")))
        .ToDictionary(p => p.Name, p => GoldenLayout.ActivationScale(GoldenValue.Tensor(family, p.Value.GetProperty("array"))));

    public Tensor Tensor(string name) => GoldenValue.Tensor(family, test.GetProperty(name));

    public nn.Module<Tensor, Tensor> BuildModel() => GoldenModels.Build(
        _model,
        GoldenValue.Flatten(test.GetProperty("params")).ToDictionary(p => p.Name, p => GoldenValue.Shape(p.Value.GetProperty("array"))),
        test.GetProperty("model_args"));

    private Tensor Layout(Tensor x) => GoldenModels.TakesImages(_model) ? GoldenLayout.Image(x) : x;
}
