using QwixSharp.Providers;
using QwixSharp.Rules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Providers;

/// <summary>Static scales from the statistics that training gathers.</summary>
public class StaticRangeTrainingTests
{
    private static readonly QuantizationRule[] Static = [new() { WeightQType = "int8", ActQType = "int8", ActStaticScale = true }];

    [Fact]
    public void StatisticsAreGatheredInTrainingModeAlone()
    {
        using var scope = NewDisposeScope();
        using var model = Net();
        Tensor a = randn(4, 8), b = randn(4, 8) * 3;
        using var qat = Qwix.QuantizeModel(model, new QtProvider(Static), a);
        qat.train();
        using (no_grad())
            qat.call(a);
        qat.call(b);
        qat.eval();
        qat.call(b * 100);
        var tensors = qat.QuantStats.ToTensors();
        Assert.Equal(2, tensors["a.dot_general0_lhs.count"].item<int>());
        float expected = a.abs().amax([1L]).mean().item<float>() + b.abs().amax([1L]).mean().item<float>();
        Assert.Equal(expected, tensors["a.dot_general0_lhs.sum_of_absmax"].item<float>(), 1e-5f * expected);
    }

    [Fact]
    public void ATrainedModelBecomesAModelWithStaticScales()
    {
        using var scope = NewDisposeScope();
        using var model = Net();
        var x = randn(16, 8);
        using var qat = Qwix.QuantizeModel(model, new QtProvider(Static), x);
        qat.train();
        for (int i = 0; i < 4; i++)
            qat.call(x * (i + 1));
        qat.eval();
        using var ptq = Qwix.QuantizeModel(qat, new PtqProvider(Static), zeros(16, 8));
        Assert.Equal(qat.call(x).bytes.ToArray(), ptq.call(x).bytes.ToArray());
        Assert.DoesNotContain(ptq.state_dict().Keys, k => k.EndsWith("count"));

        using var other = Qwix.QuantizeModel(model, new PtqProvider(Static), zeros(16, 8));
        other.load_state_dict(Qwix.QuantizeParams(model.state_dict(), other, qat.QuantStats));
        Assert.Equal(ptq.call(x).bytes.ToArray(), other.call(x).bytes.ToArray());
    }

    [Fact]
    public void EvaluationBeforeTrainingIsRefused()
    {
        using var scope = NewDisposeScope();
        using var model = Net();
        using var qat = Qwix.QuantizeModel(model, new QtProvider(Static), randn(3, 8));
        qat.eval();
        var error = Assert.Throws<QwixException>(() => qat.call(randn(3, 8)));
        Assert.Contains("a.dot_general0_lhs", error.Message);
        Assert.Contains("train()", error.Message);
    }

    [Fact]
    public void ShapesOfStatisticsThatChangeAreRefused()
    {
        using var scope = NewDisposeScope();
        using var model = Net();
        using var qat = Qwix.QuantizeModel(model, new QtProvider(Static), randn(3, 5, 8));
        qat.train();
        qat.call(randn(3, 5, 8));
        foreach (bool training in new[] { true, false })
        {
            qat.train(training);
            var error = Assert.Throws<QwixException>(() => qat.call(randn(3, 6, 8)));
            Assert.Contains("a.dot_general0_lhs", error.Message);
            Assert.Contains("ActBatchAxes", error.Message);
        }
    }

    private static TorchSharp.Modules.Sequential Net() => Sequential(("a", Linear(8, 16)), ("act", ReLU()), ("b", Linear(16, 4)));
}
