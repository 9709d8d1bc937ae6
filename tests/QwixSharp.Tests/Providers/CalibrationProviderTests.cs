using QwixSharp.Calibration;
using QwixSharp.Providers;
using QwixSharp.Rules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Providers;

public class CalibrationProviderTests
{
    private static readonly QuantizationRule[] Static = [new() { WeightQType = "int8", ActQType = "int8", ActStaticScale = true }];

    [Fact]
    public void StatisticsAreTheMeanRangesOfAllBatches()
    {
        using var scope = NewDisposeScope();
        using var model = Sequential(("a", Linear(8, 16)), ("act", ReLU()), ("b", Linear(16, 4)));
        using var stats = new QuantStats();
        Tensor[] batches = [randn(5, 8), randn(5, 8), randn(5, 8)];
        using var calibration = Qwix.QuantizeModel(model, new CalibrationProvider(Static, stats), batches[0]);
        foreach (var batch in batches[1..])
            Assert.Equal(model.call(batch).bytes.ToArray(), calibration.call(batch).bytes.ToArray());

        Assert.Equal(["a.dot_general0_lhs", "b.dot_general0_lhs"], stats.Places);
        var tensors = stats.ToTensors();
        Assert.Equal(3, tensors["a.dot_general0_lhs.count"].item<int>());
        float expected = batches.Sum(b => b.abs().amax([1L]).mean().item<float>());
        Assert.Equal(expected, tensors["a.dot_general0_lhs.sum_of_absmax"].item<float>(), 1e-5f);
    }

    [Fact]
    public void CalibratedScalesServeTheQuantizedModel()
    {
        using var scope = NewDisposeScope();
        using var model = Sequential(("conv", Conv2d(3, 8, 3)), ("act", ReLU()), ("flat", Flatten()), ("fc", Linear(8 * 36, 10)));
        using var stats = new QuantStats();
        using var calibration = Qwix.QuantizeModel(model, new CalibrationProvider(Static, stats), randn(4, 3, 8, 8));
        for (int i = 0; i < 5; i++)
            calibration.call(randn(4, 3, 8, 8));
        using var ptq = Qwix.QuantizeModel(model, new PtqProvider(Static), zeros(4, 3, 8, 8));
        ptq.load_state_dict(Qwix.QuantizeParams(new Dictionary<string, Tensor>(), ptq, stats), strict: false);
        var x = randn(4, 3, 8, 8);
        Assert.InRange(Golden.GoldenValue.Snr(model.call(x), ptq.call(x)), 15, 60);
    }

    [Fact]
    public void RulesWithoutStaticScalesAreRefused()
    {
        using var stats = new QuantStats();
        Assert.Contains("ActStaticScale", Assert.Throws<RuleException>(() => new CalibrationProvider([new() { WeightQType = "int8" }], stats)).Message);
    }
}
