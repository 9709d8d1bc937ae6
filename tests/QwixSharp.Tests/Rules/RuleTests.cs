using QwixSharp.Arrays;
using QwixSharp.Providers;
using QwixSharp.Rules;
using QwixSharp.Tests.Providers;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Rules;

/// <summary>Which rule an op falls under, and which rules are refused.</summary>
public class RuleTests
{
    private static readonly QuantizationRule Int8 = new() { WeightQType = "int8" };

    [Theory]
    [InlineData(".*", "", true)]
    [InlineData(".*", "layers.0.proj", true)]
    [InlineData("layers", "layers.0", false)]
    [InlineData("layers.*", "layers.0.proj", true)]
    [InlineData(@"layers\.\d+\.proj", "layers.12.proj", true)]
    [InlineData(@"layers\.\d+", "layers.0.proj", false)]
    [InlineData("proj", "layers.0.proj", false)]
    [InlineData(".*proj", "layers.0.proj", true)]
    [InlineData("a|ab", "ab", true)]
    [InlineData("a|b", "xb", false)]
    [InlineData("", "", true)]
    [InlineData("", "a", false)]
    [InlineData("Proj", "proj", false)]
    [InlineData("proj", "proj\n", false)]
    public void ThePathMustMatchAsAWhole(string pattern, string path, bool matches)
    {
        var provider = new PtqProvider([Int8 with { ModulePath = pattern }]);
        Assert.Equal(matches, provider.Match(path, OpNames.DotGeneral) is not null);
    }

    [Fact]
    public void TheFirstRuleThatMatchesWins()
    {
        var provider = new PtqProvider(
        [
            Int8 with { ModulePath = "a", OpNames = [OpNames.Einsum] },
            Int8 with { ModulePath = "a|b", WeightQType = "int4" },
            Int8 with { ModulePath = ".*" },
        ]);
        Assert.Same(provider.Rules[0], provider.Match("a", OpNames.Einsum));
        Assert.Same(provider.Rules[1], provider.Match("a", OpNames.DotGeneral));
        Assert.Same(provider.Rules[1], provider.Match("b", OpNames.Einsum));
        Assert.Same(provider.Rules[2], provider.Match("c", OpNames.Einsum));
    }

    [Fact]
    public void OpNamesRestrictARule()
    {
        var provider = new PtqProvider([Int8 with { OpNames = [OpNames.DotGeneral, OpNames.Embedding] }]);
        Assert.NotNull(provider.Match("x", "dot_general"));
        Assert.NotNull(provider.Match("x", "embedding"));
        Assert.Null(provider.Match("x", "einsum"));
        Assert.Null(provider.Match("x", "conv_general_dilated"));
    }

    [Fact]
    public void ARuleWithoutAWeightTypeShieldsWhatItMatches()
    {
        using var scope = NewDisposeScope();
        using var model = new TwoLayer();
        var x = randn(4, 32);
        using var ptq = Qwix.QuantizeModel(model, new PtqProvider([new() { ModulePath = "first", ActQType = "int8" }, Int8]), x);
        Assert.Equal(["second.weight"], ptq.Weights.Keys);
    }

    [Fact]
    public void UnusedRulesAreThoseThatMatchedNothing()
    {
        using var scope = NewDisposeScope();
        using var model = new TwoLayer();
        var x = randn(4, 32);
        var provider = new PtqProvider(
        [
            Int8 with { ModulePath = "frist" },
            Int8 with { ModulePath = "first" },
            Int8 with { ModulePath = "first|second", OpNames = [OpNames.Einsum] },
            Int8 with { ModulePath = "second" },
            Int8 with { ModulePath = "second", WeightQType = "int4" },
        ]);
        using var ptq = Qwix.QuantizeModel(model, provider, x);
        Assert.Equal([provider.Rules[0], provider.Rules[2], provider.Rules[4]], provider.GetUnusedRules());
    }

    [Fact]
    public void OneProviderCountsOverSeveralModels()
    {
        using var scope = NewDisposeScope();
        using var first = new TwoLayer();
        using var second = new Six();
        var provider = new PtqProvider([Int8 with { ModulePath = "second" }, Int8 with { ModulePath = "layer" }]);
        Tensor x = randn(4, 32), y = randn(4, 8);
        using var a = Qwix.QuantizeModel(first, provider, x);
        Assert.Equal("layer", Assert.Single(provider.GetUnusedRules()).ModulePath);
        using var b = Qwix.QuantizeModel(second, provider, y, y, y, y, y, y);
        Assert.Empty(provider.GetUnusedRules());
    }

    [Fact]
    public void UnusedRulesNeedARunFirst()
    {
        var error = Assert.Throws<InvalidOperationException>(() => new PtqProvider([Int8]).GetUnusedRules());
        Assert.Contains("Qwix.QuantizeModel first", error.Message);
    }

    [Fact]
    public void MatchingIsSafeForThreads()
    {
        var provider = new PtqProvider([.. Enumerable.Range(0, 50).Select(i => Int8 with { ModulePath = $@"m{i}\..*" })]);
        Parallel.For(0, 2000, i => Assert.Same(provider.Rules[i % 50], provider.Match($"m{i % 50}.x{i % 7}", OpNames.DotGeneral)));
        provider.MarkRun();
        Assert.Empty(provider.GetUnusedRules());
    }

    [Theory]
    [InlineData("layers.(0")]
    [InlineData("*")]
    [InlineData("[a")]
    [InlineData(")a(")]
    public void ARegexThatDoesNotParse(string pattern) =>
        Refused([Int8 with { ModulePath = pattern }], "ModulePath", pattern, "regular expression", "whole dotted path");

    [Fact]
    public void RulesThatContradictThemselves()
    {
        Refused([Int8 with { ActStaticScale = true }], "ActStaticScale", "set ActQType", "WeightQType = int8");
        Refused([Int8 with { ActStaticScale = false }], "ActStaticScale", "set ActQType");
        Refused([Int8 with { OpNames = ["matmul"] }], "OpNames", "\"matmul\"", "dot_general", "einsum", "conv_general_dilated", "embedding");
        Refused([Int8 with { WeightQType = "nf4", WeightCalibrationMethod = "minmax" }], "WeightCalibrationMethod", "minmax", "nf4", "int4, int8 and int16");
        Refused([Int8 with { ActQType = "fp8", ActCalibrationMethod = "fixed,-1,3" }], "ActCalibrationMethod", "fixed,-1,3", "float8_e4m3fn");
        Refused([Int8 with { ModulePath = null! }], "ModulePath", "null");
        Refused([Int8 with { OpNames = null! }], "OpNames", "null");
        Refused([Int8 with { WeightCalibrationMethod = null! }], "WeightCalibrationMethod", "null");
        Refused([Int8 with { ActBatchAxes = null! }], "ActBatchAxes", "null");
        Refused([], "at least one rule");
        Assert.Throws<ArgumentNullException>(() => new PtqProvider(null!));
        Assert.Throws<ArgumentNullException>(() => new PtqProvider([null!]));
    }

    [Fact]
    public void UnknownNamesAreToldWhereTheyAreWritten()
    {
        Assert.Contains("int9", Assert.Throws<ArgumentException>(() => new QuantizationRule { WeightQType = "int9" }).Message);
        Assert.Contains("int9", Assert.Throws<ArgumentException>(() => new QuantizationRule { ActQType = "int9" }).Message);
        Assert.Contains("percentile", Assert.Throws<ArgumentException>(() => new QuantizationRule { WeightCalibrationMethod = "percentile" }).Message);
        Assert.Throws<ArgumentOutOfRangeException>(() => new QuantizationRule { TileSize = 0 });
    }

    [Fact]
    public void DefaultsAreFilledIn()
    {
        var rule = Assert.Single(new PtqProvider([Int8]).Rules);
        Assert.Equal((false, CalibrationMethod.AbsMax(), ".*"), (rule.ActStaticScale, rule.ActCalibrationMethod, rule.ModulePath));
        Assert.Empty(rule.OpNames);
        Assert.Equal([0], rule.ActBatchAxes);
    }

    [Fact]
    public void ARuleIsWrittenAsAUserWouldWriteIt()
    {
        Assert.Equal("{ ModulePath = \".*\" }", new QuantizationRule().ToString());
        var rule = Int8 with { ModulePath = "a", OpNames = [OpNames.Einsum], TileSize = 32, ActQType = "fp8", ActStaticScale = true, ActBatchAxes = [0, 1], WeightCalibrationMethod = "rms,3" };
        var text = rule.ToString();
        foreach (var part in new[] { "ModulePath = \"a\"", "OpNames = [\"einsum\"]", "WeightQType = int8", "ActQType = float8_e4m3fn", "TileSize = 32", "ActStaticScale = True", "ActBatchAxes = [0, 1]", "WeightCalibrationMethod = rms,3" })
            Assert.Contains(part, text);
        Assert.DoesNotContain("ActCalibrationMethod", text);
    }

    private static void Refused(QuantizationRule[] rules, params string[] words)
    {
        var error = Assert.Throws<RuleException>(() => new PtqProvider(rules));
        Assert.IsAssignableFrom<QwixException>(error);
        Assert.All(words, word => Assert.Contains(word, error.Message));
    }
}
