using System.Text.Json;
using QwixSharp.Checkpoints;
using QwixSharp.Providers;
using QwixSharp.Rules;
using QwixSharp.Tests.Checkpoints;
using QwixSharp.Tests.Golden;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Lora;

/// <summary>Adapters saved in PEFT's layout and loaded again.</summary>
public sealed class PeftRoundTripTests
{
    private static readonly LoraRule Rule = new() { Rank = 4, Alpha = 8, Dropout = 0.25, InitializeB = b => b.normal_() };

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void RanksAndScalingsOfTheirOwn(bool rankStabilized)
    {
        using var scope = NewDisposeScope();
        using var folder = new TemporaryFolder();
        var x = randn(2, 3, 9, 9);
        using var model = Sequential(("conv", Conv2d(3, 8, (3, 3))), ("relu", ReLU()), ("flat", Flatten()), ("a", Linear(8 * 49, 24)), ("b", Linear(24, 10)));
        LoraRule[] rules = [Rule with { ModulePath = "a", Rank = 6, RankStabilized = rankStabilized }, Rule with { ModulePath = "conv", Alpha = 2, RankStabilized = rankStabilized }, Rule with { RankStabilized = rankStabilized }];
        using var lora = Qwix.ApplyLora(model, new LoraProvider(rules), x);
        Qwix.SaveAdapter(lora, folder.Path, baseModel: "someone/some-model");

        using (var file = Checkpoint.Open(folder["adapter_model.safetensors"]))
        {
            Assert.Equal([4L, 3, 3, 3], file.Entry("base_model.model.conv.lora_A.weight").Shape);
            Assert.Equal([8L, 4, 1, 1], file.Entry("base_model.model.conv.lora_B.weight").Shape);
            Assert.Equal([6L, 8 * 49], file.Entry("base_model.model.a.lora_A.weight").Shape);
            Assert.Equal([24L, 6], file.Entry("base_model.model.a.lora_B.weight").Shape);
        }

        using var config = JsonDocument.Parse(File.ReadAllText(folder["adapter_config.json"]));
        Assert.Equal("""{"a":6}""", config.RootElement.GetProperty("rank_pattern").GetRawText().Replace(" ", "").ReplaceLineEndings(""));
        Assert.Equal("""{"conv":2}""", config.RootElement.GetProperty("alpha_pattern").GetRawText().Replace(" ", "").ReplaceLineEndings(""));
        Assert.Equal(rankStabilized, config.RootElement.GetProperty("use_rslora").GetBoolean());
        Assert.Equal("someone/some-model", config.RootElement.GetProperty("base_model_name_or_path").GetString());

        using var again = Qwix.ApplyLora(model, new LoraProvider(Qwix.ReadAdapterRules(folder.Path)), x);
        Qwix.LoadAdapter(again, folder.Path);
        lora.eval();
        GoldenValue.AssertBits("result", lora.call(x), again.call(x));
        Assert.All(again.Adapters["default"].Values, w => Assert.Equal(0.25, w.Dropout));
    }

    [Fact]
    public void LoadedUnderAnotherNameItIsOneOfSeveral()
    {
        using var scope = NewDisposeScope();
        using var folder = new TemporaryFolder();
        var x = randn(2, 12);
        using var model = Sequential(("layers", Sequential(("0", Linear(12, 16)), ("1", Linear(16, 16)))), ("head", Linear(16, 10)));
        using var saved = Qwix.ApplyLora(model, new LoraProvider(Rule with { ModulePath = @"layers\.0" }), x);
        Qwix.SaveAdapter(saved, folder.Path);
        using var config = JsonDocument.Parse(File.ReadAllText(folder["adapter_config.json"]));
        Assert.Equal(["0"], config.RootElement.GetProperty("target_modules").EnumerateArray().Select(t => t.GetString()));

        using var lora = Qwix.ApplyLora(model, new LoraProvider(Rule), x);
        Qwix.LoadAdapter(lora, folder.Path, "small");
        Assert.Equal("default", lora.Adapters.Active);
        Assert.Equal(["layers.0.weight"], lora.Adapters["small"].Keys);
        Assert.All(lora.Adapters["small"].Values, w => Assert.False(w.A.requires_grad));
        lora.Adapters.Set("small");
        lora.eval();
        GoldenValue.AssertBits("result", saved.call(x), lora.call(x));
        Assert.Equal(["default", "small"], lora.Adapters.Names);
    }

    [Fact]
    public void AWeightThatPeftHasNoLayoutFor()
    {
        using var scope = NewDisposeScope();
        using var folder = new TemporaryFolder();
        var x = randn(2, 12);
        using var model = new Providers.Functional(randn(12, 12), (m, x) => x.matmul(m.W));
        using var lora = Qwix.ApplyLora(model, new LoraProvider(Rule), x);
        var error = Assert.Throws<QwixException>(() => Qwix.SaveAdapter(lora, folder.Path));
        Assert.Contains("\"w\"", error.Message);
        Assert.Contains("state dict", error.Message);
        Assert.Empty(folder.Names);
    }
}
