using QwixSharp.Calibration;
using QwixSharp.Providers;
using QwixSharp.Rules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Providers.Odml;

/// <summary>What cannot become a model for devices is refused, with the op, the module and the remedy.</summary>
public class OdmlErrorTests
{
    [Fact]
    public void AnUnknownOpIsNamedWithItsModule()
    {
        using var scope = NewDisposeScope();
        using var model = Sequential(("fc", Linear(8, 8)), ("odd", new Functional(ones(1), (_, x) => x.erfinv())));
        var error = Assert.Throws<QwixException>(() => Qwix.QuantizeModel(model, new OdmlQatProvider(OnDevice.Int8), rand(2, 8)));
        Assert.Contains("erfinv", error.Message);
        Assert.Contains("\"odd\"", error.Message);
        Assert.Contains("strict: false", error.Message);

        using var relaxed = Qwix.QuantizeModel(model, new OdmlQatProvider(OnDevice.Int8, strict: false), rand(2, 8));
        Assert.Equal(["fc.dot_general0_lhs", "odd.erfinv0"], relaxed.QuantStats.Places);
    }

    [Fact]
    public void ValuesThatCameFromNowhereAreRefused()
    {
        using var scope = NewDisposeScope();
        // The values leave the graph, as in a branch that reads them.
        using var inner = new Functional(rand(8, 8), (m, x) => functional.linear(tensor(x.data<float>().ToArray()).view(2, 8), m.W));
        using var model = Sequential(("inner", inner));
        var error = Assert.Throws<QwixException>(() => Qwix.QuantizeModel(model, new OdmlQatProvider(OnDevice.Int8), rand(2, 8)));
        Assert.Contains("dot_general0 in module \"inner\"", error.Message);
        Assert.Contains("inner.w", error.Message);

        using var result = new Functional(ones(1), (_, x) => tensor(x.exp().data<float>().ToArray()));
        Assert.Contains("result", Assert.Throws<QwixException>(() => Qwix.QuantizeModel(result, new OdmlQatProvider(OnDevice.Int8), rand(2, 8))).Message);
    }

    [Fact]
    public void ControlFlowByValuesRuns()
    {
        using var scope = NewDisposeScope();
        using var model = new Functional(rand(8, 8), (m, x) => x.sum().item<float>() > 0 ? functional.linear(x, m.W) : x.exp());
        using var qat = Qwix.QuantizeModel(model, new OdmlQatProvider(OnDevice.Int8), ones(2, 8));
        qat.train();
        qat.call(ones(2, 8));
        qat.call(-ones(2, 8));
        Assert.Equal(["final_output0", "sum0"], qat.QuantStats.Places);
        Assert.Equal(2, qat.QuantStats.ToTensors()["final_output0.count"].item<int>());
    }

    [Theory]
    [InlineData("TileSize", "TileSize")]
    [InlineData("OpNames", "no_such_op")]
    [InlineData("ActStaticScale", "ActQType")]
    public void RulesThatDevicesCannotFollowAreRefused(string setting, string named)
    {
        QuantizationRule rule = new() { WeightQType = "int8" };
        rule = setting switch
        {
            "TileSize" => rule with { TileSize = 32 },
            "OpNames" => rule with { OpNames = ["no_such_op"] },
            _ => rule with { ActStaticScale = true },
        };
        Assert.Contains(named, Assert.Throws<RuleException>(() => new OdmlQatProvider([rule])).Message);
    }

    [Fact]
    public void TypesThatDevicesLackAreRefusedInConversion()
    {
        using var stats = new QuantStats();
        var error = Assert.Throws<RuleException>(() => new OdmlConversionProvider([new() { WeightQType = "fp8" }], new Dictionary<string, Tensor>(), stats));
        Assert.Contains("WeightQType", error.Message);
        Assert.Contains("int4, int8 or int16", error.Message);
    }

    [Fact]
    public void FixedRangesMustContainZero()
    {
        Assert.Throws<ArgumentException>(() => new OdmlQatProvider(OnDevice.Int8, fixedRangeForInputs: (1, 2)));
        Assert.Throws<ArgumentException>(() => OdmlOp.FixedRange(2, 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => OdmlOp.Quantized(3));
    }

    [Fact]
    public void MissingStatisticsAreNamed()
    {
        using var scope = NewDisposeScope();
        using var model = Sequential(("fc", Linear(8, 4)));
        using var stats = new QuantStats();
        var error = Assert.Throws<QwixException>(() => Qwix.QuantizeModel(model, new OdmlConversionProvider(OnDevice.Int8, model.state_dict(), stats), rand(2, 8)));
        Assert.Contains("fc.dot_general0_lhs", error.Message);
        Assert.Contains("training mode", error.Message);
    }

    [Theory]
    [InlineData("missing", "no \"fc.weight\"")]
    [InlineData("shape", "shape [3, 8]")]
    [InlineData("nan", "scale of parameter \"fc.weight\"")]
    public void ParametersThatDoNotFitAreNamed(string fault, string message)
    {
        using var scope = NewDisposeScope();
        using var model = Sequential(("fc", Linear(8, 4)));
        var parameters = model.state_dict();
        if (fault == "missing")
            parameters.Remove("fc.weight");
        else
            parameters["fc.weight"] = fault == "shape" ? rand(3, 8) : full(4, 8, float.NaN);
        using var stats = new QuantStats();
        QuantizationRule[] weightOnly = [new() { WeightQType = "int8" }];
        var error = Assert.Throws<QwixException>(() => Qwix.QuantizeModel(model, new OdmlConversionProvider(weightOnly, parameters, stats), rand(2, 8)));
        Assert.Contains(message, error.Message);
        Assert.Contains("dot_general0 in module \"fc\"", error.Message);
    }

    [Fact]
    public void StatisticsThatAreNotFiniteAreNamed()
    {
        using var scope = NewDisposeScope();
        using var model = Sequential(("fc", Linear(8, 4)));
        using var stats = QuantStats.FromTensors(new Dictionary<string, Tensor>
        {
            ["fc.dot_general0_lhs.count"] = tensor(1),
            ["fc.dot_general0_lhs.sum_of_min"] = zeros(1, 1),
            ["fc.dot_general0_lhs.sum_of_max"] = full(1, 1, float.PositiveInfinity),
        });
        var error = Assert.Throws<QwixException>(() => Qwix.QuantizeModel(model, new OdmlConversionProvider(OnDevice.Int8, model.state_dict(), stats), rand(2, 8)));
        Assert.Contains("fc.dot_general0_lhs", error.Message);

        using var qat = Qwix.QuantizeModel(model, new OdmlQatProvider(OnDevice.Int8), rand(2, 8));
        qat.train();
        Assert.Contains("fc.dot_general0_lhs", Assert.Throws<QwixException>(() => qat.call(full(2, 8, float.NaN))).Message);
        Assert.Equal(0, qat.QuantStats.ToTensors()["fc.dot_general0_lhs.count"].item<int>());
    }

    [Fact]
    public void ScalesAlongTwoAxesAreRefusedUnlessThereIsOneATensor()
    {
        using var scope = NewDisposeScope();
        using var model = new Functional(rand(3, 8, 4), (m, x) => x.unsqueeze(0).matmul(m.W));
        QuantizationRule[] weightOnly = [new() { WeightQType = "int8" }];
        using var stats = new QuantStats();
        var error = Assert.Throws<QwixException>(() => Qwix.QuantizeModel(model, new OdmlConversionProvider(weightOnly, model.state_dict(), stats), rand(2, 8)));
        Assert.Contains("[3, 1, 4]", error.Message);
        var provider = new OdmlConversionProvider(weightOnly, model.state_dict(), stats, disablePerChannelWeights: true);
        using var conversion = Qwix.QuantizeModel(model, provider, rand(2, 8));
        Assert.Single(provider.FakeQuants.Single().Scale);
    }

    [Fact]
    public void AModelForDevicesIsNotQuantizedFurther()
    {
        using var scope = NewDisposeScope();
        using var model = Sequential(("fc", Linear(8, 4)));
        using var stats = new QuantStats();
        QuantizationRule[] weightOnly = [new() { WeightQType = "int8" }];
        using var conversion = Qwix.QuantizeModel(model, new OdmlConversionProvider(weightOnly, model.state_dict(), stats), rand(2, 8));
        Assert.Contains("OdmlConversionProvider", Assert.Throws<QwixException>(() => Qwix.QuantizeModel(conversion, new PtqProvider(weightOnly), rand(2, 8))).Message);
    }

    [Fact]
    public void RulesThatMatchNothingAreRefused()
    {
        using var model = Sequential(("fc", Linear(8, 4)));
        Assert.Throws<RuleException>(() => Qwix.QuantizeModel(model, new OdmlQatProvider([new() { ModulePath = "nowhere", WeightQType = "int8" }]), rand(2, 8)));
    }
}
