using System.Text.Json;
using QwixSharp.Providers;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Golden;

/// <summary>A case of the family odml in PyTorch's layout and names.</summary>
internal sealed class OdmlCase(GoldenFamily family, JsonElement test)
{
    /// <summary>What PyTorch calls the reference's ops.</summary>
    private static readonly Dictionary<string, string> OpNames = new()
    {
        ["multiply"] = "mul",
        ["subtract"] = "sub",
        ["truediv"] = "div",
        ["avg_pool"] = "avg_pool2d",
        ["max_pool"] = "max_pool2d",
    };

    /// <summary>The reference does not see sigmoid, save inside of SiLU.</summary>
    private static readonly QuantizationRule SigmoidStays = new() { OpNames = ["sigmoid"] };

    private readonly string _model = test.GetProperty("model").GetString()!;

    public QuantizationRule[] Rules { get; } = [SigmoidStays, .. test.GetProperty("rules").EnumerateArray().Select(r => GoldenLayout.Rule(r))];

    public IReadOnlyList<Tensor> Batches => [.. test.GetProperty("batches").EnumerateArray().Select(b => Image(GoldenValue.Tensor(family, b)))];

    public JsonElement FakeQuants => test.GetProperty("fake_quants_in_order");

    /// <summary>Floating-point parameters and batch statistics.</summary>
    public Dictionary<string, Tensor> Parameters => Values("params").Concat(Values("extra")).ToDictionary(
        v => GoldenLayout.Name(v.Name),
        v => v.Name.EndsWith(".kernel") ? GoldenLayout.Kernel(v.Value) : v.Value);

    /// <summary>Statistics by place and kind, such as <c>Dense_0.dot_general0_lhs.sum_of_min</c>.</summary>
    public Dictionary<string, Tensor> QuantStats => test.GetProperty("quant_stats").EnumerateObject()
        .ToDictionary(s => Place(s.Name), s => GoldenLayout.ActivationScale(GoldenValue.Tensor(family, s.Value)));

    public Tensor Tensor(string name) => GoldenValue.Tensor(family, test.GetProperty(name));

    public nn.Module<Tensor, Tensor> BuildModel() => GoldenModels.Build(
        _model == "ops" ? "ops_fused" : _model,
        test.GetProperty("params").EnumerateObject().ToDictionary(p => p.Name.Replace('/', '.'), p => GoldenValue.Shape(p.Value.GetProperty("array"))),
        test.GetProperty("model_args"));

    public OdmlQatProvider Qat() => new(Rules, PerTensorWeights, Range("fixed_range_for_inputs"), Range("fixed_range_for_outputs"));

    /// <summary>The provider as the reference has it, which leaves averages of codes as they are.</summary>
    public OdmlConversionProvider Conversion(Dictionary<string, Tensor> parameters, Calibration.QuantStats stats) =>
        new(Rules, parameters, stats, PerTensorWeights, Range("fixed_range_for_inputs"), Range("fixed_range_for_outputs"), roundAsDevice: false);

    private bool PerTensorWeights => test.GetProperty("provider_args").TryGetProperty("disable_per_channel_weights", out var value) && value.GetBoolean();

    private (double, double)? Range(string name) => test.GetProperty("provider_args").TryGetProperty(name, out var range)
        ? (range[0].GetDouble(), range[1].GetDouble())
        : null;

    private Tensor Image(Tensor x) => GoldenModels.TakesImages(_model) ? GoldenLayout.Image(x) : x;

    private IEnumerable<(string Name, Tensor Value)> Values(string group) => test.GetProperty(group).EnumerateObject().Select(p =>
        (p.Name.Replace("batch_stats/", "").Replace('/', '.'), GoldenValue.Tensor(family, p.Value.TryGetProperty("array", out var array) ? array : p.Value)));

    /// <summary>The place of statistics here for their place in the reference.</summary>
    private static string Place(string flax)
    {
        var parts = flax.Split('/');
        string op = parts[^2], name = op[..op.IndexOfAny([.. "0123456789"])];
        // The reference counts a norm among the ops of the module around it, and here it is the norm's own.
        parts[^2] = name == "norm_op" ? op.Replace("norm_op", "n.layer_norm") : OpNames.GetValueOrDefault(name, name) + op[name.Length..];
        return string.Join('.', parts);
    }
}
