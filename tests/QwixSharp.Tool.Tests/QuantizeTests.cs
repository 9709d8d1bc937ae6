using QwixSharp.Checkpoints;
using static TorchSharp.torch;

namespace QwixSharp.Tool.Tests;

public sealed class QuantizeTests : IDisposable
{
    private readonly TinyCheckpoint _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Fact]
    public async Task OneRuleQuantizesWhatItMatches()
    {
        var outcome = await Command.Succeed("quantize", _tiny.Path, _tiny["out"], "--weight-qtype", "int4", "--tile-size", "32", "--exclude", "embed");
        Assert.Contains("Quantized 2 of 5 tensors", outcome.Output);
        using var written = Checkpoint.Open(_tiny["out"]);
        using var source = Checkpoint.Open(_tiny.Path);
        Assert.Equal("qwix", written.Layout.Name);
        Assert.Equal(["layers.0.down.weight", "layers.0.up.weight"], written.LogicalTensors.Where(t => t.IsQuantized).Select(t => t.Name).Order(StringComparer.Ordinal));
        foreach (var tensor in written.LogicalTensors.Where(t => t.IsQuantized))
        {
            using var scope = NewDisposeScope();
            using var expected = Qwix.Quantize(source.Read(tensor.Name), "int4", [0], new Dictionary<int, Arrays.TileSize> { [1] = 32 });
            Assert.True(tensor.ReadFloat().equal(expected.Dequantize()).all().item<bool>(), tensor.Name);
        }

        Assert.Equal("{}", File.ReadAllText(Path.Combine(_tiny["out"], "tokenizer.json")));
    }

    [Fact]
    public async Task RulesComeFromAFile()
    {
        File.WriteAllText(_tiny["rules.json"], """[{"module_path": ".*up", "weight_qtype": "int8"}, {"module_path": ".*down", "weight_qtype": "nf4", "tile_size": 64}]""");
        var json = (await Command.Succeed("quantize", _tiny.Path, _tiny["out.safetensors"], "--rules", _tiny["rules.json"], "--json")).Json;
        var after = json.GetProperty("tensors").EnumerateArray().ToDictionary(t => t.GetProperty("name").GetString()!, t => t.GetProperty("after").GetString());
        Assert.Equal("int8, scales 128 × 1", after["layers.0.up.weight"]);
        Assert.Equal("nf4, scales 64 × 2", after["layers.0.down.weight"]);
        Assert.Equal("copied", after["embed.weight"]);
        Assert.Equal(new FileInfo(_tiny["out.safetensors"]).Length, json.GetProperty("bytes_after").GetInt64(), 4096.0);
    }

    [Fact]
    public async Task ADryRunWritesNothing()
    {
        var before = _tiny.Names;
        var outcome = await Command.Succeed("quantize", _tiny.Path, _tiny["out"], "--weight-qtype", "int8", "--dry-run");
        Assert.Contains("int8, scales 128 × 1", outcome.Output);
        Assert.Contains("Would quantize 3 of 5 tensors", outcome.Output);
        Assert.Equal(before, _tiny.Names);
    }

    [Theory]
    [InlineData("no weight in tiles of 48", "does not divide", "--weight-qtype", "int4", "--tile-size", "48")]
    [InlineData("no such type", "int9", "--weight-qtype", "int9")]
    [InlineData("no regular expression", "(", "--weight-qtype", "int8", "--include", "(")]
    public async Task WhatCannotBeDoneTouchesNothing(string why, string message, params string[] options)
    {
        var before = _tiny.Names;
        await Command.Fail(message, ["quantize", _tiny.Path, _tiny["out"], .. options]);
        Assert.True(before.SequenceEqual(_tiny.Names), why);
    }

    [Fact]
    public async Task TheInputIsNeverTheOutput()
    {
        await Command.Fail("is the input", "quantize", _tiny.Path, _tiny.Path, "--weight-qtype", "int8");
        File.WriteAllText(_tiny["there.safetensors"], "mine");
        await Command.Fail("is there already", "quantize", _tiny.Path, _tiny["there.safetensors"], "--weight-qtype", "int8");
        Assert.Equal("mine", File.ReadAllText(_tiny["there.safetensors"]));
    }

    [Fact]
    public async Task QuantizedCheckpointsAreNotQuantizedAgain()
    {
        await Command.Succeed("quantize", _tiny.Path, _tiny["out"], "--weight-qtype", "int8");
        await Command.Fail("quantized already", "quantize", _tiny["out"], _tiny["again"], "--weight-qtype", "int4");
    }

    [Theory]
    [InlineData]
    [InlineData("--rules", "r.json", "--weight-qtype", "int8")]
    [InlineData("--rules", "r.json", "--tile-size", "32")]
    public async Task RulesAreGivenInOneWay(params string[] options) =>
        Assert.Equal(ExitCode.Usage, (await Command.Run(["quantize", _tiny.Path, _tiny["out"], .. options])).Code);
}
