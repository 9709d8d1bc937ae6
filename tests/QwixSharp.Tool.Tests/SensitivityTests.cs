using CsCheck;
using QwixSharp.Numerics;
using QwixSharp.Rules;
using QwixSharp.Tool.Analysis;

namespace QwixSharp.Tool.Tests;

public sealed class SensitivityTests
{
    private static readonly Gen<LayerSensitivity[]> Layers = Gen.Select(Gen.Double[0, 60], Gen.Long[1, 1000]).Array[1, 4].Array[1, 12]
        .Select(all => all.Select((options, i) => new LayerSensitivity(
            $"l{i}.weight", [1, 1], [.. options.Select(o => new SchemeEffect(new Scheme(QType.Int8, null), o.Item2, o.Item1)).OrderByDescending(o => o.SnrDb)])).ToArray());

    [Fact]
    public void TheChoiceFitsAndIsNoSmallerThanItMustBe() => Layers.Sample(layers =>
    {
        long least = layers.Sum(l => l.Options.Min(o => o.Bytes)), most = layers.Sum(l => l.Options[0].Bytes);
        Assert.Equal(new int[layers.Length], RuleSuggestion.Choose(layers, most));
        long target = (least + most) / 2;
        var chosen = RuleSuggestion.Choose(layers, target);
        Assert.True(layers.Select((l, i) => l.Options[chosen[i]].Bytes).Sum() <= target);
        Assert.Throws<QwixException>(() => RuleSuggestion.Choose(layers, least - 1));
    });

    [Fact]
    public async Task RulesAreSuggestedThatQuantizeTakes()
    {
        using var tiny = new TinyCheckpoint();
        var json = (await Command.Succeed("sensitivity", tiny.Path, "--target-bits", "6", "-o", tiny["rules.json"], "--json")).Json;
        Assert.Equal(3, json.GetProperty("layers").GetArrayLength());
        Assert.NotEmpty(RuleJson.Parse(File.ReadAllText(tiny["rules.json"])));
        var planned = (await Command.Succeed("quantize", tiny.Path, tiny["out"], "--rules", tiny["rules.json"], "--json")).Json.GetProperty("tensors").EnumerateArray().ToDictionary(t => t.GetProperty("name").GetString()!);
        long bytes = 0, values = 0;
        foreach (var layer in json.GetProperty("layers").EnumerateArray())
        {
            string name = layer.GetProperty("name").GetString()!, suggested = layer.GetProperty("suggested").GetString()!;
            Assert.StartsWith(suggested.Split(':')[0] + ",", planned[name].GetProperty("after").GetString());
            bytes += planned[name].GetProperty("bytes_after").GetInt64();
            values += planned[name].GetProperty("bytes_before").GetInt64() / 4;
        }

        Assert.InRange(8.0 * bytes / values, 2, 6);
        Assert.Contains("suggested", (await Command.Succeed("sensitivity", tiny.Path, "--target-size", "10kB")).Output);
    }

    [Fact]
    public async Task ATargetThatCannotBeReachedIsToldSo()
    {
        using var tiny = new TinyCheckpoint();
        await Command.Fail("Offer a smaller scheme", "sensitivity", tiny.Path, "--schemes", "int8", "--target-bits", "4");
        await Command.Fail("no floating-point weight", "sensitivity", tiny.Path, "--include", "nothing");
        Assert.Equal(ExitCode.Usage, (await Command.Run("sensitivity", tiny.Path, "--schemes", "int8:x")).Code);
        Assert.Equal(ExitCode.Usage, (await Command.Run("sensitivity", tiny.Path, "-o", "rules.json")).Code);
    }
}
