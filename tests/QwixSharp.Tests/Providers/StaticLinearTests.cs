using QwixSharp.Providers;
using QwixSharp.Rules;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Providers;

/// <summary>Linear layers whose input has a static scale, computed in the kernels' way, against the general one bit for bit.</summary>
[Collection(RandomState.Name)]
public class StaticLinearTests
{
    [Theory]
    [InlineData("int8", "int8", "absmax", null)]
    [InlineData("int8", "int8", "minmax", null)]
    [InlineData("int4", "int8", "minmax", 32)]
    [InlineData("int8", "int4", "absmax", null)]
    public void LayersGiveWhatTheGeneralWayGives(string weight, string activation, string method, int? tile)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        manual_seed(1);
        var rule = new QuantizationRule { WeightQType = weight, ActQType = activation, ActStaticScale = true, ActCalibrationMethod = method, TileSize = tile is { } size ? size : null };
        foreach (bool hasBias in new[] { true, false })
        {
            var model = new Twice(hasBias);
            model.eval();
            var input = randn(5, 64) + 0.3f;
            using var general = Qwix.QuantizeModel(model, new General([rule]), input);
            using var quick = Qwix.QuantizeModel(model, new PtqProvider([rule]), input);
            foreach (var x in new[] { input, randn(1, 64) * 2, randn(33, 64), randn(64, 7).t(), WithOdd(float.NaN), WithOdd(float.NegativeInfinity) })
            {
                Tensor expected = general.call(x), actual = quick.call(x);
                Assert.True(expected.isnan().Equals(actual.isnan()));
                Assert.True(expected.nan_to_num().Equals(actual.nan_to_num()));
            }
        }
    }

    private static Tensor WithOdd(float value)
    {
        var x = randn(3, 64);
        x[1, 40] = value;
        return x;
    }

    /// <summary>Not known to do nothing of its own at each call.</summary>
    private sealed class General(IEnumerable<QuantizationRule> rules) : PtqProvider(rules);

    /// <summary>One layer that is called twice, whose inputs have scales of their own.</summary>
    private sealed class Twice : Module<Tensor, Tensor>
    {
        private readonly Linear layer;

        internal Twice(bool hasBias) : base(nameof(Twice))
        {
            layer = Linear(64, 64, hasBias);
            RegisterComponents();
        }

        public override Tensor forward(Tensor input) => layer.call(layer.call(input).relu() * 3);
    }
}
