using System.Text.Json;
using QwixSharp.Arrays;
using QwixSharp.Providers;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Golden;

[Trait("Category", "Golden")]
[Trait("Family", "lora")]
public class LoraGoldenTests
{
    private const string Family = "lora";

    public static IEnumerable<TheoryDataRow<string>> Cases() => GoldenFamily.Rows(Family);

    public static IEnumerable<TheoryDataRow<int>> Refusals() => GoldenFamily.Refusals(Family);

    [Theory]
    [MemberData(nameof(Cases))]
    public void BaseAdaptersAndOutputAgree(string name)
    {
        using var scope = NewDisposeScope();
        var family = GoldenFamily.Load(Family);
        var test = new LoraCase(family, family.Case(name));
        using var model = test.BuildModel();
        model.load_state_dict(test.FloatingPoint, strict: false);
        using var lora = Qwix.ApplyLora(model, new LoraProvider(test.Rules), test.Input);

        foreach (var (path, expected) in test.QuantizedWeights)
            GoldenValue.AssertSame(expected, lora.Weights[path], rms: false);
        Assert.Equal(test.QuantizedWeights.Keys.Order(), lora.Weights.Keys.Order());
        Assert.Equal(
            test.Adapters.Select(a => (a.Key, Shape: string.Join(",", a.Value.shape))).Order(),
            lora.named_parameters().Select(p => (p.name, string.Join(",", p.parameter.shape))).Order());

        var (_, unexpected) = lora.load_state_dict(test.Adapters, strict: false);
        Assert.Empty(unexpected);
        lora.eval();
        using (no_grad())
            AssertOutput(test, lora.call(test.Input));
        // Where gradients are wanted, products with quantized weights take another way.
        AssertOutput(test, lora.call(test.Input.requires_grad_()));
    }

    [Theory]
    [MemberData(nameof(Refusals))]
    public void RefusalsOfNumbersAreRefusedHereToo(int index)
    {
        using var scope = NewDisposeScope();
        var family = GoldenFamily.Load(Family);
        var (refused, sibling) = family.Refusal(index);
        var test = new LoraCase(family, sibling);
        var rules = refused.GetProperty("rules").EnumerateArray().Select(r => GoldenLayout.Rule(r)).ToArray();
        using var module = test.BuildModel();
        module.load_state_dict(test.FloatingPoint, strict: false);
        module.eval();

        if (GoldenFamily.IsRefusedHereToo(refused, () => Qwix.ApplyLora(module, new LoraProvider(rules), test.Input)))
            return;

        // The reference refuses weight-only convolutions; here they run. Dense layers whose width no tile divides go without tiles.
        var convolutionsTiled = rules.SelectMany(r => new[] { r with { OpNames = [OpNames.ConvGeneralDilated] }, r with { TileSize = null } });
        using var lora = Qwix.ApplyLora(module, new LoraProvider(convolutionsTiled), test.Input);
        lora.eval();
        double snr = GoldenValue.Snr(module.call(test.Input), lora.call(test.Input));
        Assert.True(snr > 0, $"SNR against floating point is {snr:f1} dB");
    }

    private static void AssertOutput(LoraCase test, Tensor output)
    {
        double snr = GoldenValue.Snr(test.Output, output);
        double least = test.Rules.Any(r => r is { ActQType: not null, WeightQType: not null }) ? 45 : 100;
        Assert.True(snr >= least, $"SNR {snr:f1} dB; {least} is the least");
    }
}

/// <summary>A case of the family lora in PyTorch's layout.</summary>
internal sealed class LoraCase(GoldenFamily family, JsonElement test)
{
    private readonly string _model = test.GetProperty("model").GetString()!;

    public QuantizationRule[] Rules { get; } = [.. test.GetProperty("rules").EnumerateArray().Select(r => GoldenLayout.Rule(r))];

    public Tensor Input => GoldenModels.TakesImages(_model) ? GoldenLayout.Image(Tensor("x")) : Tensor("x");

    public Tensor Output => Tensor("output");

    /// <summary>The floating-point parameters and batch statistics.</summary>
    public Dictionary<string, Tensor> FloatingPoint => GoldenValue.Flatten(test.GetProperty("fp_params")).Concat(GoldenValue.Flatten(test.GetProperty("extra")))
        .ToDictionary(p => GoldenLayout.Name(p.Name), p => Layout(p.Name, p.Value));

    public Dictionary<string, QArray> QuantizedWeights => GoldenValue.Flatten(test.GetProperty("params"))
        .Where(p => GoldenValue.IsQuantized(p.Value))
        .ToDictionary(p => GoldenLayout.Name(p.Name), p => GoldenLayout.Kernel(GoldenValue.QArray(family, p.Value)));

    /// <summary>
    /// The adapters; a kernel of a convolution is in PyTorch's layout. Where A or B has the shape of its quantized weight,
    /// as with a rank of the weight's own, the reference takes the two for each other (flax_util.find_param goes by shape)
    /// and leaves the adapter out of the product, unlike one on a plain weight: then it is zero here.
    /// </summary>
    public Dictionary<string, Tensor> Adapters => GoldenValue.Flatten(test.GetProperty("params"))
        .Where(p => p.Name.Contains("_lora_"))
        .ToDictionary(p => p.Name.Replace(".kernel_lora", ".weight_lora"), p => Adapter(p.Name, p.Value));

    public nn.Module<Tensor, Tensor> BuildModel() => GoldenModels.Build(
        _model,
        GoldenValue.Flatten(test.GetProperty("fp_params")).ToDictionary(p => p.Name, p => GoldenValue.Shape(p.Value.GetProperty("array"))),
        test.GetProperty("model_args"));

    private Tensor Adapter(string name, JsonElement value)
    {
        var tensor = GoldenValue.Tensor(family, value.GetProperty("array"));
        if (IsConfused(name))
            tensor = zeros_like(tensor);
        return tensor.dim() > 2 ? GoldenLayout.Kernel(tensor) : tensor;
    }

    private bool IsConfused(string name)
    {
        var values = GoldenValue.Flatten(test.GetProperty("params")).ToDictionary();
        string weight = name[..name.IndexOf("_lora_")];
        if (!GoldenValue.IsQuantized(values[weight]))
            return false;
        var shape = GoldenValue.Shape(values[weight].GetProperty("qvalue"));
        return new[] { "_lora_a", "_lora_b" }.Any(side => GoldenValue.Shape(values[weight + side].GetProperty("array")).SequenceEqual(shape));
    }

    private Tensor Layout(string name, JsonElement value)
    {
        var tensor = GoldenValue.Tensor(family, value.TryGetProperty("array", out var array) ? array : value);
        return name.EndsWith(".kernel") ? GoldenLayout.Kernel(tensor) : tensor;
    }

    private Tensor Tensor(string name) => GoldenValue.Tensor(family, test.GetProperty(name));
}
