using System.Text.Json;
using QwixSharp.Arrays;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Golden;

[Trait("Category", "Golden")]
[Trait("Family", "quantize")]
public class QuantizeGoldenTests
{
    private const string Family = "quantize";

    public static IEnumerable<TheoryDataRow<string>> Cases() => GoldenFamily.Rows(Family);

    public static IEnumerable<TheoryDataRow<int>> Refusals() => GoldenFamily.Refusals(Family);

    [Theory]
    [MemberData(nameof(Cases))]
    public void Agrees(string name)
    {
        using var scope = NewDisposeScope();
        var family = GoldenFamily.Load(Family);
        var test = family.Case(name);
        var expected = GoldenValue.QArray(family, test.GetProperty("result"));
        var actual = Quantize(test, GoldenValue.Tensor(family, test.GetProperty("x")));
        bool rms = test.GetProperty("calibration_method").GetString()!.StartsWith("rms");
        GoldenValue.AssertSame(expected, actual, rms);
        var dequantized = GoldenValue.Tensor(family, test.GetProperty("dequantized"));
        if (rms)
            GoldenValue.AssertBits("dequantized file", dequantized, expected.Dequantize());
        else
            GoldenValue.AssertBits("dequantized", dequantized, actual.Dequantize());
    }

    [Theory]
    [MemberData(nameof(Refusals))]
    public void RefusesWhatTheReferenceRefuses(int index)
    {
        using var scope = NewDisposeScope();
        var refused = GoldenFamily.Load(Family).Manifest.GetProperty("refused_by_reference")[index];
        var error = Assert.Throws<ArgumentException>(() => Quantize(refused, randn(64, 96)));
        Assert.Contains(refused.GetProperty("qtype").GetString()!, error.Message);
    }

    private static QArray Quantize(JsonElement test, Tensor x) => Qwix.Quantize(
        x,
        QType.Parse(test.GetProperty("qtype").GetString()!),
        test.TryGetProperty("channelwise_axes", out var axes) ? [.. axes.EnumerateArray().Select(e => e.GetInt32())] : null,
        test.TryGetProperty("tiled_axes", out var tiles) ? GoldenValue.Tiles(tiles) : null,
        test.GetProperty("calibration_method").GetString());
}
