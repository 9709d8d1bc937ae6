using QwixSharp.Arrays;
using QwixSharp.Calibration;
using QwixSharp.Providers;
using QwixSharp.Rules;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Providers;

/// <summary>
/// What cannot be quantized is refused with a documented exception that names the parameter or op, its path and what would
/// be right; the user's model and state dict stay as they were.
/// </summary>
public class BadInputTests
{
    private static readonly QuantizationRule Int8 = new() { WeightQType = "int8" };

    [Fact]
    public void ATileThatDoesNotDivide()
    {
        using var model = new TwoLayer();
        Refused<QwixException>(model, [Int8 with { TileSize = 24 }], "first.weight", "[64, 32]", "dot_general0 in module \"first\"", "tile size of 24", "divisor of 32", "TileSize = 24");
        Refused<QwixException>(model, [Int8 with { ModulePath = "first" }, Int8 with { TileSize = 48 }], "second.weight", "tile size of 48");
        Refused<QwixException>(model, [Int8 with { WeightQType = "mxfp4" }], "first.weight", "mxfp4 needs tiles", "32");
        Refused<QwixException>(model, [Int8 with { WeightQType = "nvfp4", TileSize = 32 }], "first.weight", "nvfp4 needs tiles of 16");
        Refused<QwixException>(model, [Int8 with { TileSize = new Dictionary<int, TileSize> { [2] = 8 } }], "first.weight", "Axis 2");
    }

    [Fact]
    public void RulesThatMatchNothing()
    {
        using var model = new TwoLayer();
        Refused<RuleException>(model, [Int8 with { ModulePath = "layers.*" }], "No rule matches any op of TwoLayer", "whole dotted path", "first", "second", "layers.*");
        Refused<RuleException>(model, [Int8 with { OpNames = [OpNames.Einsum] }], "No rule matches any op", "einsum");
    }

    [Fact]
    public void RulesThatNeedAnActivationType()
    {
        using var model = new TwoLayer();
        var error = Assert.Throws<RuleException>(() => new PtqProvider([Int8 with { ActStaticScale = true }]));
        Assert.Contains("ActQType", error.Message);
    }

    [Fact]
    public void TwoAsymmetricOperands()
    {
        using var model = new TwoLayer();
        Refused<QwixException>(model, [Int8 with { ActQType = "int8", WeightCalibrationMethod = "minmax", ActCalibrationMethod = "minmax" }], "dot_general0 in module \"first\"", "zero point");
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    [InlineData(float.NegativeInfinity)]
    public void AWeightThatIsNotFinite(float value)
    {
        using var model = new TwoLayer();
        using (no_grad())
            model.Second.weight[3, 5] = value;
        Refused<QwixException>(model, [Int8], "second.weight", "NaN or infinite", "dot_general0 in module \"second\"", "finite");
    }

    [Fact]
    public void IntegerWeights()
    {
        using var model = new IntegerProduct();
        using var input = ones(3, 6, ScalarType.Int64);
        var before = Snapshot(model);
        var error = Assert.Throws<QwixException>(() => Qwix.QuantizeModel(model, new PtqProvider([Int8]), input));
        Assert.Contains("\"w\"", error.Message);
        Assert.Contains("Int64", error.Message);
        Assert.Contains("float32", error.Message);
        AssertUnchanged(before, model);
    }

    [Fact]
    public void IntegerActivations()
    {
        using var model = new Functional(randn(4, 6), (_, x) => x.matmul(x.t()));
        using var input = ones(3, 6, ScalarType.Int64);
        var error = Assert.Throws<QwixException>(() => Qwix.QuantizeModel(model, new PtqProvider([Int8 with { ActQType = "int8" }]), input));
        Assert.Contains("dot_general0 in module \"\"", error.Message);
        Assert.Contains("Int64", error.Message);
    }

    [Fact]
    public void AnInputThatTheModelItselfRefuses()
    {
        using var model = new TwoLayer();
        var before = Snapshot(model);
        model.train();
        Assert.ThrowsAny<Exception>(() =>
        {
            using var wrong = randn(4, 7);
            Qwix.QuantizeModel(model, new PtqProvider([Int8]), wrong);
        });
        Assert.True(model.training);
        AssertUnchanged(before, model);
        using var right = randn(4, 32);
        using var _ = Qwix.QuantizeModel(model, new PtqProvider([Int8]), right);
    }

    [Fact]
    public void ParamsThatDoNotFit()
    {
        using var model = new TwoLayer();
        using var input = randn(4, 32);
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider([Int8]), input);
        RefusedParams(quantized, "first.weight", randn(64, 31), "first.weight", "[64, 31]", "[64, 32]", "TwoLayer");
        RefusedParams(quantized, "first.weight", randn(64, 32).to(ScalarType.Int64), "first.weight", "Int64", "float32");
        RefusedParams(quantized, "second.weight", full([16, 64], float.NaN), "second.weight", "NaN or infinite");
        RefusedParams(quantized, "first.weight", full([64, 32], float.NegativeInfinity), "first.weight", "NaN or infinite");
        RefusedParams(quantized, "third.weight", randn(3), "third.weight", "TwoLayer", "allowExtra", "first.weight");
        RefusedParams(quantized, "first.bias", randn(63), "first.bias", "[63]", "[64]");
        RefusedParams(quantized, "first.bias", ones(64, ScalarType.Int64), "first.bias", "Int64", "Float32");
        RefusedParams(quantized, "norm.num_batches_tracked", ones([], ScalarType.Float32), "norm.num_batches_tracked", "Float32", "Int64");
    }

    [Fact]
    public void ParamsWithoutValues()
    {
        using var scope = NewDisposeScope();
        using var model = new TwoLayer();
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider([Int8]), randn(4, 32));
        var error = Assert.Throws<QwixException>(() => Qwix.QuantizeParams(new Dictionary<string, Tensor> { ["first.weight"] = empty([64, 32], device: META) }, quantized));
        Assert.Contains("\"first.weight\" is on the meta device", error.Message);
    }

    [Fact]
    public void WeightsAreFiniteThoughTheirSumIsNot()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var model = nn.Linear(32, 4);
        model.weight!.fill_(3e38);
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider([Int8]), randn(2, 32));
        var entries = Qwix.QuantizeParams(model.state_dict(), quantized);
        Assert.Equal(quantized.Weights["weight"].Scale.bytes.ToArray(), entries["weight.scale"].bytes.ToArray());
        Assert.True(entries["weight.scale"].isfinite().all().item<bool>());
    }

    [Fact]
    public void ExtraParamsAreLeftOutWhereAllowed()
    {
        using var scope = NewDisposeScope();
        using var model = new TwoLayer();
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider([Int8]), randn(4, 32));
        var state = model.state_dict();
        state["third.weight"] = randn(3);
        var result = Qwix.QuantizeParams(state, quantized, allowExtra: true);
        Assert.Equal(quantized.state_dict().Keys.Order(), result.Keys.Order());
    }

    [Fact]
    public void StatesThatDoNotFitAreRefusedBeforeAnythingChanges()
    {
        using var scope = NewDisposeScope();
        using var model = new TwoLayer();
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider([Int8]), randn(4, 32));
        Dictionary<string, Tensor> Changed() => quantized.state_dict().ToDictionary(s => s.Key, s => s.Value + 1);
        var before = quantized.state_dict().ToDictionary(s => s.Key, s => s.Value.bytes.ToArray());

        void Refuse(Action<Dictionary<string, Tensor>> spoil, params string[] words)
        {
            var state = Changed();
            spoil(state);
            var error = Assert.Throws<QwixException>(() => quantized.load_state_dict(state));
            Assert.All(words, word => Assert.Contains(word, error.Message));
            Assert.All(quantized.state_dict(), s => Assert.Equal(before[s.Key], s.Value.bytes.ToArray()));
        }

        Refuse(s => s.Remove("second.weight.qvalue"), "Missing: second.weight.qvalue", "QuantizeParams");
        Refuse(s => s["second.weight"] = randn(16, 64), "Left over: second.weight", "strict: false");
        Refuse(s => s["second.weight.scale"] = ones(1, 64), "second.weight.scale", "[1, 64]", "[16, 1]", "same rules");
        Refuse(s => s["second.weight.qvalue"] = randn(16, 64), "second.weight.qvalue", "Float32", "Int8");
        Refuse(s => s["second.weight.qvalue"] = zeros(16, 32, ScalarType.Byte), "second.weight.qvalue", "Byte", "[16, 32]");
        Assert.Throws<QwixException>(() => quantized.load_state_dict(model.state_dict()));
    }

    [Fact]
    public void BadStatistics()
    {
        using var scope = NewDisposeScope();
        using var model = new TwoLayer();
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider([Int8 with { ActQType = "int8", ActStaticScale = true }]), randn(4, 32));
        using var elsewhere = QuantStats.FromTensors(new Dictionary<string, Tensor> { ["third.dot_general0_lhs.count"] = tensor(1), ["third.dot_general0_lhs.sum_of_absmax"] = ones(1, 1) });
        var error = Assert.Throws<QwixException>(() => Qwix.QuantizeParams(model.state_dict(), quantized, elsewhere));
        Assert.Contains("third.dot_general0_lhs", error.Message);
        Assert.Contains("first.dot_general0_lhs", error.Message);
        using var misshapen = QuantStats.FromTensors(new Dictionary<string, Tensor> { ["first.dot_general0_lhs.count"] = tensor(1), ["first.dot_general0_lhs.sum_of_absmax"] = ones(3, 7) });
        error = Assert.Throws<QwixException>(() => Qwix.QuantizeParams(model.state_dict(), quantized, misshapen));
        Assert.Contains("first.dot_general0_lhs", error.Message);
        Assert.Contains("[3, 7]", error.Message);
    }

    [Fact]
    public void ArgumentsThatAreMissing()
    {
        using var model = new TwoLayer();
        using var input = randn(4, 32);
        var provider = new PtqProvider([Int8]);
        Assert.Throws<ArgumentNullException>(() => Qwix.QuantizeModel((nn.Module<Tensor, Tensor>)null!, provider, input));
        Assert.Throws<ArgumentNullException>(() => Qwix.QuantizeModel(model, null!, input));
        using var quantized = Qwix.QuantizeModel(model, provider, input);
        Assert.Throws<ArgumentNullException>(() => Qwix.QuantizeParams(null!, quantized));
        Assert.Throws<ArgumentNullException>(() => Qwix.QuantizeParams(new Dictionary<string, Tensor>(), null!));
        Assert.Contains("nothing", Assert.Throws<QwixException>(() => quantized.Invoke<Tensor>("nothing", input)).Message);
    }

    private static void RefusedParams(IQuantizedModel quantized, string name, Tensor value, params string[] words)
    {
        using (value)
        {
            var state = quantized.Original.state_dict();
            state[name] = value;
            var before = state.ToDictionary(s => s.Key, s => (s.Value, s.Value.bytes.ToArray()));
            var statistics = DisposeScopeManager.Statistics.TensorStatistics;
            long live = statistics.ThreadTotalLiveCount;
            var error = Assert.Throws<QwixException>(() => Qwix.QuantizeParams(state, quantized));
            Assert.All(words, word => Assert.Contains(word, error.Message));
            Assert.Equal(live, statistics.ThreadTotalLiveCount);
            Assert.Equal(before.Keys, state.Keys);
            Assert.All(state, s => Assert.True(ReferenceEquals(before[s.Key].Value, s.Value) && before[s.Key].Item2.SequenceEqual(s.Value.bytes.ToArray())));
        }
    }

    private static void Refused<TException>(nn.Module<Tensor, Tensor> model, QuantizationRule[] rules, params string[] words) where TException : QwixException
    {
        using var input = randn(4, 32);
        model.train();
        var before = Snapshot(model);
        var statistics = DisposeScopeManager.Statistics.TensorStatistics;
        long live = statistics.ThreadTotalLiveCount;
        var error = Assert.Throws<TException>(() => Qwix.QuantizeModel(model, new PtqProvider(rules), input));
        Assert.All(words, word => Assert.Contains(word, error.Message));
        Assert.Equal(live, statistics.ThreadTotalLiveCount);
        Assert.True(model.training);
        AssertUnchanged(before, model);
    }

    private static Dictionary<string, byte[]> Snapshot(nn.Module model) => model.state_dict().ToDictionary(s => s.Key, s => s.Value.bytes.ToArray());

    private static void AssertUnchanged(Dictionary<string, byte[]> before, nn.Module model)
    {
        var after = Snapshot(model);
        Assert.Equal(before.Keys, after.Keys);
        Assert.All(before, s => Assert.Equal(s.Value, after[s.Key]));
    }
}
