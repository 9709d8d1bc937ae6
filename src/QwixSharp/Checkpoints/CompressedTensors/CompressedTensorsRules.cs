using System.Text.RegularExpressions;
using QwixSharp.Arrays;
using QwixSharp.Numerics;
using QwixSharp.Rules;

namespace QwixSharp.Checkpoints.CompressedTensors;

/// <summary>Rules that quantize a model as the weights of a checkpoint are.</summary>
internal static class CompressedTensorsRules
{
    internal static IReadOnlyList<QuantizationRule> Of(IEnumerable<CompressedTensorsWeight> weights) =>
        [.. weights.Where(w => w.Quantization is not null).GroupBy(SettingsOf).Select(g => RuleOf(g.Key, g.Select(w => w.Module)))];

    private static Settings SettingsOf(CompressedTensorsWeight weight)
    {
        var quantization = weight.Quantization!;
        long tiles = quantization.ScaleShape[1];
        return new Settings(quantization.QType, tiles == 1 ? null : weight.Shape[1] / tiles, quantization.HasZeroPoint, weight.Activations?.QType, weight.ReadInputScale());
    }

    private static QuantizationRule RuleOf(Settings settings, IEnumerable<string> modules) => new()
    {
        ModulePath = string.Join('|', modules.Select(Regex.Escape)),
        WeightQType = settings.WeightQType,
        TileSize = settings.TileSize is { } size ? (Tiling)size : null,
        WeightCalibrationMethod = settings.HasZeroPoint ? CalibrationMethod.MinMax() : CalibrationMethod.AbsMax(),
        ActQType = settings.ActQType,
        ActCalibrationMethod = settings.InputScale is { } scale ? Range(settings.ActQType!, scale) : null,
    };

    private static CalibrationMethod Range(QType qtype, float scale) => CalibrationMethod.Fixed(-scale * qtype.SymmetricBound, scale * qtype.SymmetricBound);

    private sealed record Settings(QType WeightQType, long? TileSize, bool HasZeroPoint, QType? ActQType, float? InputScale);
}
