using QwixSharp.Numerics;
using QwixSharp.Providers;
using QwixSharp.Rules;
using QwixSharp.Tests.Golden;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Providers;

/// <summary>Weights that several ops use: one array where they use them in the same way, one for each way otherwise.</summary>
public class SharedWeightTests
{
    private static readonly QuantizationRule[] WeightOnly = [new() { WeightQType = "int8" }];

    [Fact]
    public void AModuleCalledTwiceHasOneArray()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var model = new Repeated();
        var x = Input();
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider(WeightOnly), x);
        var actual = quantized.call(x);
        Assert.Equal(["layer.weight"], quantized.Weights.Keys);
        AssertIsThatOfTheDequantizedWeights(model, quantized, x, actual);
    }

    [Fact]
    public void EachCallOfAModuleHasItsOwnStaticScale()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var model = new Repeated();
        var x = Input();
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider([new() { WeightQType = "int8", ActQType = "int8", ActStaticScale = true }]), x);
        Assert.Equal(["layer.weight"], quantized.Weights.Keys);
        var scales = quantized.state_dict().Where(entry => entry.Key.EndsWith("_lhs_scale", StringComparison.Ordinal)).ToDictionary(entry => entry.Key, entry => entry.Value);
        Assert.Equal(["layer.dot_general0_lhs_scale", "layer.dot_general1_lhs_scale"], scales.Keys.Order(StringComparer.Ordinal));
        GoldenValue.AssertClose(x.abs().amax([1], true).mean([0L], true) / 127.5, scales["layer.dot_general0_lhs_scale"], 1e-6);
        Assert.NotEqual(scales["layer.dot_general0_lhs_scale"].item<float>(), scales["layer.dot_general1_lhs_scale"].item<float>());
    }

    [Fact]
    public void AParameterThatTwoModulesUseAlikeHasOneArray()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var model = new Sharing();
        var x = Input();
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider(WeightOnly), x);
        var actual = quantized.call(x);
        Assert.Equal(["first.weight"], quantized.Weights.Keys);
        AssertIsThatOfTheDequantizedWeights(model, quantized, x, actual);
        AssertSameWhenReleased(quantized, x, actual);
    }

    [Fact]
    public void NoPathOfASharedParameterHasItsFloatingPointValues()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var model = new Sharing();
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider(WeightOnly), Input());
        Assert.Equal(
            ["alias.bias", "first.bias", "first.weight.qvalue", "first.weight.scale", "tied.bias"],
            quantized.state_dict().Keys.Order(StringComparer.Ordinal));
        Assert.DoesNotContain(quantized.named_parameters(), p => p.name.EndsWith("weight", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("first.weight")]
    [InlineData("tied.weight")]
    [InlineData("alias.weight")]
    public void AStateDictMayHaveASharedParameterUnderAnyOfItsPaths(string kept)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using Sharing source = new(), target = new();
        var x = Input();
        var provider = new PtqProvider(WeightOnly);
        using var direct = Qwix.QuantizeModel(source, provider, x);
        using var filled = Qwix.QuantizeModel(target, provider, x);
        var state = source.state_dict().Where(p => p.Key == kept || p.Key.EndsWith("bias", StringComparison.Ordinal)).ToDictionary(p => p.Key, p => p.Value);

        filled.load_state_dict(Qwix.QuantizeParams(state, filled));
        GoldenValue.AssertBits("from one path", direct.call(x), filled.call(x));

        filled.load_state_dict(Qwix.QuantizeParams(source.state_dict(), filled));
        GoldenValue.AssertBits("from all paths", direct.call(x), filled.call(x));
    }

    [Fact]
    public void AParameterThatOneOfItsModulesUsesUnquantizedIsKept()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var model = new Sharing();
        var x = Input();
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider([new() { ModulePath = "tied", WeightQType = "int8" }]), x);
        var state = quantized.state_dict().Keys;
        Assert.All(new[] { "first.weight", "alias.weight", "tied.weight", "first.weight.qvalue" }, name => Assert.Contains(name, state));
        AssertSameWhenReleased(quantized, x, quantized.call(x));
        Assert.False(model.named_parameters().First(p => p.name == "first.weight").parameter.isnan().any().item<bool>());
    }

    [Fact]
    public void AParameterUsedAlongBothOfItsAxesHasTwoArrays()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var model = new ThereAndBack();
        var x = Input();
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider(WeightOnly), x);
        var actual = quantized.call(x);
        Assert.Equal(["there.weight", "there.weight#2"], quantized.Weights.Keys);
        // Each has scales along the axis that its product keeps.
        Assert.Equal([24L, 1L], quantized.Weights["there.weight"].Scale.shape);
        Assert.Equal([1L, 16L], quantized.Weights["there.weight#2"].Scale.shape);
        Assert.InRange(GoldenValue.Snr(model.call(x), actual), 30, 100);
        AssertSameWhenReleased(quantized, x, actual);
    }

    [Fact]
    public void AParameterUnderTwoRulesHasTwoArrays()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var model = new Sharing();
        var x = Input();
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider([new() { ModulePath = "tied", WeightQType = "int4" }, .. WeightOnly]), x);
        Assert.Equal([QType.Int8, QType.Int4], quantized.Weights.OrderBy(w => w.Key, StringComparer.Ordinal).Select(w => w.Value.QType));
        AssertSameWhenReleased(quantized, x, quantized.call(x));
    }

    [Fact]
    public void BothArraysOfAParameterAreSavedLoadedAndMadeOfItsValues()
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using ThereAndBack model = new(), second = new(), third = new();
        var x = Input();
        var provider = new PtqProvider(WeightOnly);
        using var quantized = Qwix.QuantizeModel(model, provider, x);
        var expected = quantized.call(x);

        using var loaded = Qwix.QuantizeModel(second, provider, x);
        loaded.load_state_dict(quantized.state_dict());
        GoldenValue.AssertBits("loaded", expected, loaded.call(x));

        using var filled = Qwix.QuantizeModel(third, provider, x);
        filled.load_state_dict(Qwix.QuantizeParams(model.state_dict(), filled));
        GoldenValue.AssertBits("made of the parameters", expected, filled.call(x));
    }

    [Theory]
    [InlineData(ScalarType.Float64, null)]
    [InlineData(ScalarType.Float64, "int8")]
    [InlineData(ScalarType.BFloat16, null)]
    [InlineData(ScalarType.BFloat16, "int8")]
    public void AModelOfAnotherDtypeKeepsIt(ScalarType dtype, string? activations)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var model = new Everything();
        model.eval();
        model.to(dtype);
        using var generator = new Generator(3);
        var image = randn([2, 3, 8, 8], generator: generator).to(dtype);
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider([new() { WeightQType = "int8", ActQType = activations is null ? null : QType.Parse(activations) }]), image);
        var actual = quantized.call(image);
        Assert.Equal(dtype, actual.dtype);
        Assert.Equal(["conv.weight", "output.weight", "recurrent.weight_hh_l0", "recurrent.weight_ih_l0"], quantized.Weights.Keys);
        Assert.All(quantized.Weights.Values, weight => Assert.Equal(dtype, weight.Dtype));
        Assert.InRange(GoldenValue.Snr(model.call(image), actual), 20, 100);
        if (activations is null)
            AssertIsThatOfTheDequantizedWeights(model, quantized, image, actual, dtype == ScalarType.Float64 ? 1e-12 : 0.03);
        AssertSameWhenReleased(quantized, image, actual);
    }

    private static Tensor Input()
    {
        using var generator = new Generator(11);
        return randn([5, 16], generator: generator);
    }

    /// <summary>Puts the values that the codes stand for in place of the parameters: the plain model must then give the same.</summary>
    private static void AssertIsThatOfTheDequantizedWeights(Module<Tensor, Tensor> model, QuantizedModule<Tensor, Tensor> quantized, Tensor x, Tensor actual, double tolerance = 1e-5)
    {
        var parameters = model.named_parameters().ToDictionary(p => p.name, p => p.parameter);
        foreach (var (name, weight) in quantized.Weights)
            parameters[name].copy_(weight.Dequantize());
        var expected = model.call(x);
        GoldenValue.AssertClose(expected, actual, tolerance);
    }

    private static void AssertSameWhenReleased(QuantizedModule<Tensor, Tensor> quantized, Tensor x, Tensor before)
    {
        quantized.ReleaseOriginalWeights();
        GoldenValue.AssertBits("released", before, quantized.call(x));
    }

    /// <summary>One layer, called twice.</summary>
    private sealed class Repeated : Module<Tensor, Tensor>
    {
        private readonly Linear layer = Linear(16, 16);

        public Repeated() : base("repeated") => RegisterComponents();

        public override Tensor forward(Tensor x) => layer.call(functional.relu(layer.call(x)));
    }

    /// <summary>An autoencoder whose second half uses the weight of the first the other way round.</summary>
    private sealed class ThereAndBack : Module<Tensor, Tensor>
    {
        private readonly Linear there = Linear(16, 24);

        public ThereAndBack() : base("there_and_back") => RegisterComponents();

        public override Tensor forward(Tensor x) => matmul(functional.relu(there.call(x)), there.weight);
    }

    /// <summary>A convolution, a recurrence and a linear layer.</summary>
    private sealed class Everything : Module<Tensor, Tensor>
    {
        private readonly Conv2d conv = Conv2d(3, 8, 3, padding: 1);
        private readonly GRU recurrent = GRU(8, 8, batchFirst: true);
        private readonly Linear output = Linear(8, 5);

        public Everything() : base("everything") => RegisterComponents();

        public override Tensor forward(Tensor x) =>
            output.call(recurrent.call(functional.relu(conv.call(x)).mean([3]).transpose(1, 2)).Item1);
    }
}
