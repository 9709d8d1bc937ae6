using QwixSharp.Providers;
using QwixSharp.Rules;
using QwixSharp.Tests.Golden;
using QwixSharp.Tests.Providers;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Lora;

/// <summary>A model with adapters as a module: what trains, what is kept, what the user's model keeps.</summary>
[Collection(RandomState.Name)]
public sealed class LoraModelTests
{
    private static readonly LoraRule Plain = new() { Rank = 4, Alpha = 8 };
    private static readonly LoraRule Quantized = Plain with { WeightQType = "nf4", TileSize = 16 };

    public static TheoryData<string> Bases => ["plain", "quantized"];

    [Theory]
    [MemberData(nameof(Bases))]
    public void OnlyAdaptersTrain(string kind)
    {
        using var scope = NewDisposeScope();
        using var model = new TwoLayer();
        var before = model.named_parameters().ToDictionary(p => p.name, p => p.parameter.detach().clone());
        Tensor x = randn(16, 32), target = randn(16, 16);
        using var lora = Qwix.ApplyLora(model, new LoraProvider(Rule(kind)), x);
        Assert.Equal(["first.weight_lora_a", "first.weight_lora_b", "second.weight_lora_a", "second.weight_lora_b"], lora.named_parameters().Select(p => p.name));
        Assert.Equal(lora.Adapters["default"].Count * 2, lora.parameters().Count());

        lora.eval(); // a batch norm in training mode changes its statistics
        using var optimizer = optim.AdamW(lora.parameters(), 1e-2);
        double Step()
        {
            using var step = NewDisposeScope();
            optimizer.zero_grad();
            var loss = nn.functional.mse_loss(lora.call(x), target);
            loss.backward();
            optimizer.step();
            return loss.item<float>();
        }

        double first = Step(), last = 0;
        for (int i = 0; i < 60; i++)
            last = Step();
        Assert.True(last < 0.8 * first, $"The loss went from {first} to {last}.");
        foreach (var (name, parameter) in model.named_parameters())
        {
            Assert.True(parameter.requires_grad, name);
            Assert.Null(parameter.grad);
            GoldenValue.AssertBits(name, before[name], parameter);
        }
    }

    [Fact]
    public void ANewAdapterChangesNothing()
    {
        using var scope = NewDisposeScope();
        using var model = new TwoLayer();
        model.eval();
        var x = randn(4, 32);
        using var lora = Qwix.ApplyLora(model, new LoraProvider(Plain), x);
        GoldenValue.AssertClose(model.call(x), lora.call(x), 1e-6);
        // He's uniform distribution: ±√(6 ÷ in).
        double largest = lora.Adapters["default"]["first.weight"].A.abs().max().item<float>(), limit = Math.Sqrt(6.0 / 32);
        Assert.InRange(largest, 0.8 * limit, limit);
    }

    [Fact]
    public void DropoutIsForTrainingAlone()
    {
        using var scope = NewDisposeScope();
        using var model = new Functional(randn(24, 16), (m, x) => nn.functional.linear(x, m.W));
        var x = randn(64, 16);
        using var lora = Qwix.ApplyLora(model, new LoraProvider(Plain with { Dropout = 0.5, InitializeB = b => b.normal_() }), x);
        lora.eval();
        Tensor once = lora.call(x), again = lora.call(x);
        GoldenValue.AssertBits("evaluation", once, again);
        lora.train();
        manual_seed(7);
        var trained = lora.call(x);
        manual_seed(7);
        var weights = lora.Adapters["default"]["w"];
        var expected = model.call(x) + (2 * nn.functional.dropout(x, 0.5).matmul(weights.A).matmul(weights.B));
        GoldenValue.AssertClose(expected, trained, 1e-5);
    }

    [Fact]
    public void AdaptersAreAddedSwitchedDisabledAndDeleted()
    {
        using var scope = NewDisposeScope();
        using var model = new TwoLayer();
        model.eval();
        var x = randn(4, 32);
        using var lora = Qwix.ApplyLora(model, new LoraProvider(Plain with { InitializeB = b => b.normal_() }), x);
        lora.eval();
        var byDefault = lora.call(x);

        lora.Adapters.Add("other");
        Assert.Equal(["default", "other"], lora.Adapters.Names);
        Assert.Equal("default", lora.Adapters.Active);
        Assert.Equal(8, lora.named_parameters().Count());
        Assert.Contains("first.weight_lora_b_other", lora.state_dict().Keys);
        Assert.All(lora.named_parameters(), p => Assert.Equal(!p.name.EndsWith("_other"), p.parameter.requires_grad));
        GoldenValue.AssertBits("default", byDefault, lora.call(x));

        lora.Adapters.Set("other");
        Assert.All(lora.named_parameters(), p => Assert.Equal(p.name.EndsWith("_other"), p.parameter.requires_grad));
        Assert.True((lora.call(x) - byDefault).abs().max().item<float>() > 0.1);
        lora.Adapters.Disable();
        Assert.Null(lora.Adapters.Active);
        GoldenValue.AssertClose(model.call(x), lora.call(x), 1e-6);
        lora.Adapters.Set("default");
        GoldenValue.AssertBits("default", byDefault, lora.call(x));
        lora.Adapters.Delete("default");
        Assert.Null(lora.Adapters.Active);
        Assert.Equal(4, lora.named_parameters().Count());
        lora.Adapters.Set("other");
    }

    [Theory]
    [MemberData(nameof(Bases))]
    public void StateIsSavedAndLoaded(string kind)
    {
        using var scope = NewDisposeScope();
        using var model = new TwoLayer();
        using var other = new TwoLayer();
        var x = randn(4, 32);
        var provider = new LoraProvider(Rule(kind) with { InitializeB = b => b.normal_() });
        using var lora = Qwix.ApplyLora(model, provider, x);
        using var byState = Qwix.ApplyLora(other, provider, x);
        byState.load_state_dict(lora.state_dict());
        using var third = new TwoLayer();
        using var byFile = Qwix.ApplyLora(third, provider, x);
        using var written = new MemoryStream();
        lora.save(written);
        using var file = new MemoryStream(written.ToArray());
        byFile.load(file);
        lora.eval();
        byState.eval();
        byFile.eval();
        using var noGrad = no_grad();
        GoldenValue.AssertBits("state dict", lora.call(x), byState.call(x));
        GoldenValue.AssertBits("file", lora.call(x), byFile.call(x));
    }

    [Theory]
    [MemberData(nameof(Bases))]
    public void ItMovesToAnotherDtype(string kind)
    {
        using var scope = NewDisposeScope();
        using var model = new TwoLayer();
        var x = randn(4, 32);
        using var lora = Qwix.ApplyLora(model, new LoraProvider(Rule(kind) with { InitializeB = b => b.normal_() }), x);
        lora.eval();
        var single = lora.call(x);
        lora.to(ScalarType.Float64);
        Assert.All(lora.parameters(), p => Assert.Equal(ScalarType.Float64, p.dtype));
        Assert.All(lora.parameters(), p => Assert.True(p.requires_grad));
        var twice = lora.call(x.to(ScalarType.Float64));
        twice.sum().backward();
        Assert.All(lora.parameters(), p => Assert.NotNull(p.grad));
        GoldenValue.AssertClose(single, twice, 1e-5);
    }

    [Fact]
    public void GivingUpTheBaseLeavesItsCodes()
    {
        using var scope = NewDisposeScope();
        using var model = nn.Linear(256, 512, hasBias: false);
        var x = randn(4, 256).requires_grad_();
        using var lora = Qwix.ApplyLora(model, new LoraProvider(new LoraRule { Rank = 4, Alpha = 8, WeightQType = "nf4", TileSize = 64, InitializeB = b => b.normal_() }), x);
        var before = lora.call(x);
        before.sum().backward();
        var gradient = x.grad!.clone();
        x.grad!.zero_();
        var merged = lora.Adapters.Merge();
        lora.ReleaseOriginalWeights();

        // Half a byte a value, and a float32 scale for each 64.
        Assert.Equal((256 * 512 / 2) + (4 * 256 * 512 / 64), lora.Weights["weight"].ByteSize);
        Assert.Equal([0L, 0], model.weight.stride()); // one number stands for all
        var after = lora.call(x);
        after.sum().backward();
        GoldenValue.AssertBits("result", before, after);
        GoldenValue.AssertBits("gradient", gradient, x.grad!);
        GoldenValue.AssertBits("merged", merged["weight"], lora.Adapters.Merge()["weight"]);
    }

    [Fact]
    public void MergedWeightsAreQuantizedAnew()
    {
        using var scope = NewDisposeScope();
        using var model = new TwoLayer();
        using var plain = new TwoLayer();
        var x = randn(4, 32);
        using var lora = Qwix.ApplyLora(model, new LoraProvider(Quantized with { InitializeB = b => b.normal_() }), x);
        plain.load_state_dict(lora.Adapters.Merge());
        using var ptq = Qwix.QuantizeModel(plain, new PtqProvider([new QuantizationRule { WeightQType = "int8" }]), x);
        lora.eval();
        ptq.eval();
        plain.eval();
        using var noGrad = no_grad();
        GoldenValue.AssertClose(lora.call(x), plain.call(x), 1e-5);
        Assert.True(GoldenValue.Snr(lora.call(x), ptq.call(x)) > 30);
    }

    [Fact]
    public void TwoModelsShareABaseThatStillTrainsByItself()
    {
        using var scope = NewDisposeScope();
        using var model = new TwoLayer();
        var x = randn(4, 32);
        using var one = Qwix.ApplyLora(model, new LoraProvider(Plain), x);
        using var two = Qwix.ApplyLora(model, new LoraProvider(Plain with { Rank = 2 }), x);
        one.call(x).sum().backward();
        Assert.All(model.parameters(), p => Assert.Null(p.grad));
        Assert.All(two.parameters(), p => Assert.Null(p.grad));
        model.call(x).sum().backward();
        Assert.All(model.parameters(), p => Assert.NotNull(p.grad));
    }

    [Theory]
    [MemberData(nameof(Bases))]
    public void FiveHundredStepsLeaveNothingBehind(string kind)
    {
        using var model = new TwoLayer();
        using var x = randn(4, 32);
        using var lora = Qwix.ApplyLora(model, new LoraProvider(Rule(kind) with { Dropout = 0.1 }), x);
        using var optimizer = optim.Adam(lora.parameters(), 1e-3);
        void Steps(int count)
        {
            for (int i = 0; i < count; i++)
            {
                using var scope = NewDisposeScope();
                optimizer.zero_grad();
                lora.call(x).square().mean().backward();
                optimizer.step();
            }
        }

        Steps(3);
        lora.parameters().ToList();
        long before = DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount;
        Steps(500);
        Assert.Equal(before, DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount);
    }

    private static LoraRule Rule(string kind) => kind == "plain" ? Plain : Quantized;
}
