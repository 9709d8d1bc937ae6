using QwixSharp.Arrays;
using QwixSharp.Checkpoints;
using QwixSharp.Providers;
using QwixSharp.Rules;

namespace QwixSharp.Tests.Rules;

public class RuleJsonTests
{
    [Fact]
    public void EverySettingIsKept()
    {
        QuantizationRule[] rules =
        [
            new()
            {
                ModulePath = @"layers\.\d+\.(q|k)_proj",
                OpNames = [OpNames.DotGeneral, OpNames.Einsum],
                WeightQType = "int4",
                ActQType = "int8",
                TileSize = 32,
                ActStaticScale = true,
                WeightCalibrationMethod = "rms,3.5",
                WeightScaleDtype = TorchSharp.torch.ScalarType.BFloat16,
                ActCalibrationMethod = "minmax,0.9",
                ActBatchAxes = [0, 1],
            },
            new() { WeightQType = "nf4", TileSize = 0.25 },
            new() { WeightQType = "int8", TileSize = 1.0 },
            new() { WeightQType = "int8", TileSize = new Dictionary<int, TileSize> { [0] = 16, [1] = 0.5 } },
            new() { ModulePath = "head" },
        ];
        var json = RuleJson.Write(rules);
        Assert.Equal(rules.Select(r => r.ToString()), RuleJson.Parse(json).Select(r => r.ToString()));
        Assert.Equal("""{"module_path":".*","weight_qtype":"int8","tile_size":1.0}""", json.Split("},")[2] + "}");
        Assert.EndsWith(",{\"module_path\":\"head\"}]", json);
    }

    [Theory]
    [InlineData("""{"weight_qtype":"int8"}""", "array of objects")]
    [InlineData("""[7]""", "Rule 0 is not an object")]
    [InlineData("""[{"weight_qtype":"int8"},{"weight_qtype":"int9"}]""", "Rule 1 has a weight_qtype")]
    [InlineData("""[{"weight_qtype":8}]""", "Rule 0 has a weight_qtype")]
    [InlineData("""[{"tile_size":0}]""", "Rule 0 has a tile_size")]
    [InlineData("""[{"tile_size":{"x":4}}]""", "Rule 0 has a tile_size")]
    [InlineData("""[{"weight_qtype":"int4","weight_scale_dtype":"int8"}]""", "Rule 0 has a weight_scale_dtype")]
    [InlineData("""[{"qtype":"int8"}]""", "Known are: module_path")]
    [InlineData("""[{"act_static_scale":true}]""", "ActQType is not")]
    [InlineData("""[{"weight_qtype":"int8",}]""", "line 1 at byte 24")]
    public void WhatIsNoRuleIsRefused(string json, string message) =>
        Assert.Contains(message, Assert.Throws<RuleException>(() => RuleJson.Parse(json)).Message);

    [Fact]
    public void OpsAreCheckedByWhoeverUsesTheRules()
    {
        var rules = RuleJson.Parse("""[{"op_names":["softmax"],"weight_qtype":"int8"}]""");
        Assert.Contains("which is no op", Assert.Throws<RuleException>(() => new CheckpointQuantizer(rules)).Message);
        Assert.Equal(["softmax"], new OdmlQatProvider(rules).Rules[0].OpNames);
    }
}
