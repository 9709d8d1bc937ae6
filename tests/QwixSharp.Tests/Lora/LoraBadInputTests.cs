using QwixSharp.Checkpoints;
using QwixSharp.Providers;
using QwixSharp.Rules;
using QwixSharp.Tests.Checkpoints;
using QwixSharp.Tests.Providers;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Lora;

/// <summary>What cannot be adapted or loaded is refused in words that name the module, and nothing is changed.</summary>
public sealed class LoraBadInputTests
{
    private static readonly LoraRule Rule = new() { Rank = 4, Alpha = 8 };

    [Fact]
    public void RulesThatCannotBeMeant()
    {
        Refused<RuleException>(() => new LoraProvider(Rule with { Rank = 0 }), "Rank is 0", "at least 1");
        Refused<RuleException>(() => new LoraProvider(Rule with { Rank = -2 }), "Rank is -2");
        Refused<RuleException>(() => new LoraProvider(Rule with { Dropout = 1 }), "Dropout is 1");
        Refused<RuleException>(() => new LoraProvider(Rule with { Dropout = double.NaN }), "Dropout");
        Refused<RuleException>(() => new LoraProvider(Rule with { Alpha = double.PositiveInfinity }), "Alpha");
        Refused<RuleException>(() => new LoraProvider(Rule with { DoubleQuantization = true }), "DoubleQuantization", "WeightQType");
        Refused<RuleException>(() => new LoraProvider([new QuantizationRule { WeightQType = "int8" }]), "LoraRule", "PtqProvider");
    }

    [Fact]
    public void RulesThatDoNotFitTheModel()
    {
        using var model = new TwoLayer();
        using var x = randn(2, 32);
        Refused<QwixException>(() => Qwix.ApplyLora(model, new LoraProvider(Rule with { Rank = 17 }), x), "second.weight", "[16, 64]", "rank 17", "at most 16", "dot_general0 in module \"second\"");
        Refused<RuleException>(() => Qwix.ApplyLora(model, new LoraProvider(Rule with { ModulePath = "third" }), x), "No rule matches any op", "first");
        using var products = new Functional(randn(4, 4), (_, x) => x.matmul(x.t()));
        Refused<RuleException>(() => Qwix.ApplyLora(products, new LoraProvider(Rule), x), "nothing to adapt");
        Assert.All(model.parameters(), p => Assert.True(p.requires_grad));
    }

    [Fact]
    public void TwoUsesOfAWeightThatOneAdapterCannotServe()
    {
        using var model = new Functional(randn(16, 12), (m, x) => functional.linear(x, m.W).matmul(m.W));
        using var x = randn(2, 12);
        Refused<QwixException>(() => Qwix.ApplyLora(model, new LoraProvider(Rule), x), "\"w\"", "in another way");
    }

    [Fact]
    public void NamesOfAdapters()
    {
        using var model = new TwoLayer();
        using var x = randn(2, 32);
        using var lora = Qwix.ApplyLora(model, new LoraProvider(Rule), x);
        Refused<QwixException>(() => lora.Adapters.Set("none"), "\"none\"", "default");
        Refused<QwixException>(() => lora.Adapters.Add("default"), "already");
        Refused<QwixException>(() => lora.Adapters.Add("a.b"), "a.b", "letters");
        Refused<QwixException>(() => lora.Adapters["none"], "\"none\"");
        lora.Adapters.Disable();
        Refused<QwixException>(() => lora.Adapters.Merge(), "No adapter is active");
        Refused<QwixException>(() => Qwix.SaveAdapter(lora, "unused"), "No adapter is active");
    }

    [Fact]
    public void AnAdapterOfAnotherModel()
    {
        using var scope = NewDisposeScope();
        using var folder = new TemporaryFolder();
        var x = randn(2, 32);
        using var model = Sequential(("first", Linear(32, 24)), ("second", Linear(24, 16)));
        using var lora = Qwix.ApplyLora(model, new LoraProvider(Rule), x);
        Qwix.SaveAdapter(lora, folder.Path);

        using var wider = Sequential(("first", Linear(32, 20)), ("second", Linear(20, 16)));
        using var other = Qwix.ApplyLora(wider, new LoraProvider(Rule), x);
        var before = other.Adapters["default"]["first.weight"].A.clone();
        Refused<QwixException>(() => Qwix.LoadAdapter(other, folder.Path), "module \"first\"", "[24, 4]", "[20, 32]");
        Assert.True(before.equal(other.Adapters["default"]["first.weight"].A).all().item<bool>());
        using var fewer = Qwix.ApplyLora(model, new LoraProvider(Rule with { ModulePath = "first" }), x);
        Refused<QwixException>(() => Qwix.LoadAdapter(fewer, folder.Path), "module \"second\"", "Qwix.ReadAdapterRules");
        Assert.Equal(["default"], fewer.Adapters.Names);
    }

    [Theory]
    [InlineData("\"use_dora\": false", "\"use_dora\": true", "use_dora", "merge_and_unload")]
    [InlineData("\"bias\": \"none\"", "\"bias\": \"all\"", "biases")]
    [InlineData("\"peft_type\": \"LORA\"", "\"peft_type\": \"IA3\"", "IA3")]
    [InlineData("\"init_lora_weights\": true", "\"init_lora_weights\": \"pissa\"", "pissa", "changes the base")]
    [InlineData("\"modules_to_save\": null", "\"modules_to_save\": [\"head\"]", "modules_to_save")]
    [InlineData("\"task_type\": null", "\"layer_replication\": [[0, 4]]", "layer_replication")]
    [InlineData("\"r\": 4", "\"r\": 5", "rank is 5", "[4, 32]")]
    [InlineData("\"r\": 4", "\"r\": \"four\"", "another type")]
    [InlineData("\"r\": 4,", "", "missing")]
    [InlineData("\"r\": 4", "\"r\": 4 4", "not valid JSON")]
    public void SettingsThatAreNotKnown(string found, string replaced, params string[] words)
    {
        using var scope = NewDisposeScope();
        using var folder = new TemporaryFolder();
        var x = randn(2, 32);
        using var model = Sequential(("first", Linear(32, 24)));
        using var lora = Qwix.ApplyLora(model, new LoraProvider(Rule), x);
        Qwix.SaveAdapter(lora, folder.Path);
        var config = File.ReadAllText(folder["adapter_config.json"]);
        Assert.Contains(found, config);
        File.WriteAllText(folder["adapter_config.json"], config.Replace(found, replaced));
        Refused<CheckpointException>(() => Qwix.ReadAdapterRules(folder.Path), words);
        Refused<CheckpointException>(() => Qwix.LoadAdapter(lora, folder.Path), words);
    }

    [Fact]
    public void FilesThatAreNotThere()
    {
        using var folder = new TemporaryFolder();
        Refused<CheckpointException>(() => Qwix.ReadAdapterRules(folder.Path), "adapter_config.json", "no such file");
        File.WriteAllText(folder["adapter_config.json"], """{ "peft_type": "LORA", "r": 4, "lora_alpha": 8 }""");
        Refused<CheckpointException>(() => Qwix.ReadAdapterRules(folder.Path), "adapter_model.safetensors");
    }

    [Fact]
    public void TensorsThatPeftHasForOtherLayers()
    {
        using var scope = NewDisposeScope();
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["adapter_config.json"], """{ "peft_type": "LORA", "r": 4, "lora_alpha": 8 }""");
        const string key = "base_model.model.embed.lora_embedding_A";
        using (var writer = SafetensorsWriter.Create(folder["adapter_model.safetensors"], [new TensorEntry(key, CheckpointDtype.Float32, [4, 10])]))
        {
            writer.Write(key, zeros(4, 10));
            writer.Complete();
        }

        Refused<CheckpointException>(() => Qwix.ReadAdapterRules(folder.Path), "lora_embedding_A", "merge_and_unload");
    }

    private static void Refused<TException>(Func<object?> action, params string[] words) where TException : Exception => Refused<TException>(() => { action(); }, words);

    private static void Refused<TException>(Action action, params string[] words) where TException : Exception
    {
        var error = Assert.Throws<TException>(action);
        Assert.All(words, word => Assert.Contains(word, error.Message));
    }
}
