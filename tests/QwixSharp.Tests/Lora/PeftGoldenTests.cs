using System.Text.Json;
using QwixSharp.Checkpoints;
using QwixSharp.Providers;
using QwixSharp.Tests.Checkpoints;
using QwixSharp.Tests.Golden;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Lora;

/// <summary>Adapters of a small Llama that PEFT wrote.</summary>
[Trait("Category", "Golden")]
public sealed class PeftGoldenTests
{
    private const long HeadSize = 16;

    public static IEnumerable<TheoryDataRow<string>> Adapters => FormatFolders.Rows(name => name.StartsWith("peft-", StringComparison.Ordinal));

    [Theory]
    [MemberData(nameof(Adapters))]
    public void LogitsAreThoseOfPeft(string name)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var test = new PeftCase(name);
        using var lora = test.Apply();
        Qwix.LoadAdapter(lora, test.Folder);
        lora.eval();
        GoldenValue.AssertClose(test.Tensor("logits"), lora.call(test.Tensor("input_ids")), 1e-5);
        lora.Adapters.Disable();
        GoldenValue.AssertClose(test.Model.call(test.Tensor("input_ids")), lora.call(test.Tensor("input_ids")), 1e-6);
    }

    [Theory]
    [MemberData(nameof(Adapters))]
    public void MergedWeightsAreThoseOfPeft(string name)
    {
        using var scope = NewDisposeScope();
        using var test = new PeftCase(name);
        using var lora = test.Apply();
        Qwix.LoadAdapter(lora, test.Folder);
        var merged = lora.Adapters.Merge();
        var expected = test.Group("merged.");
        Assert.Equal(expected.Keys.Order(), merged.Keys.Order());
        foreach (var (path, tensor) in expected)
            GoldenValue.AssertClose(tensor, merged[path], 1e-6);
    }

    [Theory]
    [MemberData(nameof(Adapters))]
    public void SavedAgainTheFilesAreTheSame(string name)
    {
        using var scope = NewDisposeScope();
        using var test = new PeftCase(name);
        using var lora = test.Apply();
        Qwix.LoadAdapter(lora, test.Folder);
        using var folder = new TemporaryFolder();
        Qwix.SaveAdapter(lora, folder.Path);

        Assert.Equal(["adapter_config.json", "adapter_model.safetensors"], folder.Names);
        Assert.Equal(File.ReadAllBytes(Path.Combine(test.Folder, "adapter_model.safetensors")), File.ReadAllBytes(folder["adapter_model.safetensors"]));
        using var theirs = JsonDocument.Parse(File.ReadAllText(Path.Combine(test.Folder, "adapter_config.json")));
        using var ours = JsonDocument.Parse(File.ReadAllText(folder["adapter_config.json"]));
        foreach (var setting in new[] { "peft_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "bias", "rank_pattern", "alpha_pattern", "fan_in_fan_out" })
            Assert.True(JsonElement.DeepEquals(theirs.RootElement.GetProperty(setting), ours.RootElement.GetProperty(setting)), setting);
        string[] Targets(JsonDocument config) => [.. config.RootElement.GetProperty("target_modules").EnumerateArray().Select(t => t.GetString()!).Order()];
        Assert.Equal(Targets(theirs), Targets(ours));
    }

    [Theory]
    [MemberData(nameof(Adapters))]
    public void OnAQuantizedBaseTheLogitsStayNear(string name)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        using var test = new PeftCase(name);
        using var lora = test.Apply(weightQType: "int8");
        Qwix.LoadAdapter(lora, test.Folder);
        lora.ReleaseOriginalWeights();
        lora.eval();
        double snr = GoldenValue.Snr(test.Tensor("logits"), lora.call(test.Tensor("input_ids")));
        Assert.InRange(snr, 35, 80);
    }

    /// <summary>An adapter, its base, and what PEFT made of them.</summary>
    private sealed class PeftCase : IDisposable
    {
        private readonly Checkpoint _expected;

        public PeftCase(string name)
        {
            Folder = FormatFolders.Folder(name);
            _expected = Checkpoint.Open(Path.Combine(Folder, "expected.safetensors"));
            Model = new TinyLlama(Group("base."), HeadSize);
            Model.load_state_dict(Group("base."));
        }

        public string Folder { get; }

        public TinyLlama Model { get; }

        public Tensor Tensor(string name) => _expected.Read(name);

        public Dictionary<string, Tensor> Group(string prefix) => _expected.Tensors.Where(t => t.Name.StartsWith(prefix, StringComparison.Ordinal))
            .ToDictionary(t => t.Name[prefix.Length..], t => _expected.Read(t.Name));

        public LoraModule<Tensor, Tensor> Apply(string? weightQType = null) =>
            Qwix.ApplyLora(Model, new LoraProvider(Qwix.ReadAdapterRules(Folder).Select(r => r with { WeightQType = weightQType })), Tensor("input_ids"));

        public void Dispose()
        {
            _expected.Dispose();
            Model.Dispose();
        }
    }
}
