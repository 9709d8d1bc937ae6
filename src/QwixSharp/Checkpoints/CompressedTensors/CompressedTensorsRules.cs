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
        long rowTile = weight.Shape[0] / quantization.ScaleShape[0], columnTile = weight.Shape[1] / quantization.ScaleShape[1];
        bool hasOneScale = quantization.ScaleShape.All(l => l == 1);
        return new Settings(
            quantization.QType,
            RowTile: hasOneScale || rowTile == 1 ? null : rowTile,
            ColumnTile: quantization.ScaleShape[1] == 1 ? null : columnTile,
            quantization.HasZeroPoint,
            weight.Activations?.QType,
            weight.ReadInputScale());
    }

    private static QuantizationRule RuleOf(Settings settings, IEnumerable<string> modules) => new()
    {
        ModulePath = string.Join('|', modules.Select(Regex.Escape)),
        WeightQType = settings.WeightQType,
        TileSize = TilesOf(settings),
        WeightCalibrationMethod = settings.HasZeroPoint ? CalibrationMethod.MinMax() : CalibrationMethod.AbsMax(),
        ActQType = settings.ActQType,
        ActCalibrationMethod = settings.InputScale is { } scale ? Range(settings.ActQType!, scale) : null,
    };

    /// <summary>Tiles along the inputs, or where outputs share scales too, along both.</summary>
    private static Tiling? TilesOf(Settings settings) => (settings.RowTile, settings.ColumnTile) switch
    {
        (null, null) => null,
        (null, { } columns) => new TileSize(columns),
        ({ } rows, null) => new Dictionary<int, TileSize> { [0] = new(rows), [1] = new(1.0) },
        ({ } rows, { } columns) => new Dictionary<int, TileSize> { [0] = new(rows), [1] = new(columns) },
    };

    private static CalibrationMethod Range(QType qtype, float scale) => CalibrationMethod.Fixed(-scale * qtype.SymmetricBound, scale * qtype.SymmetricBound);

    private sealed record Settings(QType WeightQType, long? RowTile, long? ColumnTile, bool HasZeroPoint, QType? ActQType, float? InputScale);
}
