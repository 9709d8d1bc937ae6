using QwixSharp.Arrays;
using QwixSharp.Providers;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Providers;

/// <summary>Later calls of a linear layer skip the provider; they give what the provider gives, bit for bit.</summary>
public class RememberedLinearTests
{
    public static TheoryData<string, string?, long?> Schemes => new()
    {
        { "int8", null, null },
        { "int8", "int8", null },
        { "int8", "int8", 32 },
        { "int8", "int8", 128 },
        { "int4", "int8", 32 },
        { "int4", "int4", null },
        { "int4", null, 32 },
        { "nf4", null, 64 },
        { "fp8", null, null },
        { "fp8", "fp8", null },
        { "int4", "fp8", 32 },
        { "mxfp8", null, 32 },
        { "int8", "nf4", null },
    };

    [Theory]
    [MemberData(nameof(Schemes))]
    public void TheyGiveWhatTheProviderGives(string weight, string? activation, long? tile)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        using var model = new Perceptron(256, 128, 40);
        QuantizationRule[] rules = [new() { WeightQType = weight, ActQType = activation, TileSize = tile is { } size ? new TileSize(size) : null }];
        var x = randn(2, 70, 256);
        using var remembering = Qwix.QuantizeModel(model, new PtqProvider(rules), x);
        using var forgetful = Qwix.QuantizeModel(model, new Forgetful(rules), x);
        foreach (var input in new[] { x, x[0], x[0, 0], x.transpose(0, 1), x[TensorIndex.Ellipsis, TensorIndex.Slice(0, 256)] * 1e-30, x.to(ScalarType.Float32) + float.NaN })
            Assert.True(forgetful.call(input).allclose(remembering.call(input), rtol: 0, atol: 0, equal_nan: true), $"[{string.Join(", ", input.shape)}]");
    }

    [Fact]
    public void OtherInputsTakeTheGeneralWay()
    {
        using var scope = NewDisposeScope();
        using var model = new Perceptron(256, 128, 40);
        QuantizationRule[] rules = [new() { WeightQType = "int8" }];
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider(rules), randn(2, 256));
        quantized.eval();
        quantized.call(randn(2, 256));

        var x = randn(3, 256, requires_grad: true);
        quantized.call(x).sum().backward();

        Assert.NotNull(x.grad);
        Assert.Equal([0, 40], quantized.call(empty(0, 256)).shape);
    }

    [Fact]
    public void InTrainingTheGradientOfAWeightIsStillRefused()
    {
        using var scope = NewDisposeScope();
        using var model = new Perceptron(256, 128, 40);
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider([new() { WeightQType = "int8" }]), randn(2, 256));
        quantized.train();

        var error = Assert.ThrowsAny<Exception>(() => quantized.call(randn(2, 256)).sum().backward());

        Assert.Contains("has no gradient for its weight 'second.weight'", error.Message);
    }

    [Fact]
    public void WeightsThatAreLoadedLaterAreUsed()
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        using Perceptron model = new(256, 128, 40), other = new(256, 128, 40);
        QuantizationRule[] rules = [new() { WeightQType = "int8", ActQType = "int8" }];
        var x = randn(2, 256);
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider(rules), x);
        using var expected = Qwix.QuantizeModel(other, new PtqProvider(rules), x);
        quantized.call(x);

        quantized.load_state_dict(expected.state_dict());

        Assert.True(expected.call(x).equal(quantized.call(x)).all().item<bool>());
    }

    /// <summary>A provider that is derived from: it is asked at every call.</summary>
    private sealed class Forgetful(IEnumerable<QuantizationRule> rules) : PtqProvider(rules);

    private sealed class Perceptron : nn.Module<Tensor, Tensor>
    {
        private readonly TorchSharp.Modules.Linear first, second;

        public Perceptron(long width, long inner, long output) : base("perceptron")
        {
            first = nn.Linear(width, inner);
            second = nn.Linear(inner, output, hasBias: false);
            RegisterComponents();
        }

        public override Tensor forward(Tensor x) => second.call(nn.functional.relu(first.call(x)));
    }
}
