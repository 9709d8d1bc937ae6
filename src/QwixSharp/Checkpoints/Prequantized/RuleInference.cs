using System.Text.RegularExpressions;
using QwixSharp.Arrays;
using QwixSharp.Rules;

namespace QwixSharp.Checkpoints.Prequantized;

/// <summary>Finds the rules that quantize a model into the form of a checkpoint's tensors.</summary>
internal static class RuleInference
{
    /// <summary>One rule for all layers that differ in a number alone, and are quantized alike; else one for each.</summary>
    internal static IReadOnlyList<QuantizationRule> Infer(IEnumerable<LogicalTensor> tensors, Tiling? tileSize, bool weightOnly)
    {
        var quantized = tensors.Where(t => t.Quantization is not null).Select(t => (Path: ModuleOf(t.Name), Rule: RuleOf(t, tileSize, weightOnly)));
        var rules = new List<QuantizationRule>();
        foreach (var layers in quantized.GroupBy(q => Pattern(q.Path, numbersAreOne: true)))
        {
            // The settings of records compare by reference; what they say is what counts.
            bool alike = layers.Select(l => l.Rule.ToString()).Distinct().Count() == 1;
            rules.AddRange(alike
                ? [layers.First().Rule with { ModulePath = layers.Key }]
                : layers.DistinctBy(l => l.Path).Select(l => l.Rule with { ModulePath = Pattern(l.Path, numbersAreOne: false) }));
        }

        return rules;
    }

    private static QuantizationRule RuleOf(LogicalTensor tensor, Tiling? tileSize, bool weightOnly)
    {
        var quantization = tensor.Quantization!;
        return new QuantizationRule
        {
            WeightQType = quantization.QType,
            ActQType = weightOnly || !quantization.QType.CanDequantizeOnOutput ? null : quantization.QType,
            WeightCalibrationMethod = quantization.HasZeroPoint ? CalibrationMethod.MinMax() : CalibrationMethod.AbsMax(),
            TileSize = tileSize ?? TileOf(tensor.Shape, quantization.ScaleShape),
        };
    }

    /// <summary>The tiles of the last axis that has some. In blocks of two axes those of the other are made scales for each channel.</summary>
    private static Tiling? TileOf(IReadOnlyList<long> shape, IReadOnlyList<long> scaleShape)
    {
        for (int axis = shape.Count - 1; axis >= 0; axis--)
        {
            if (scaleShape[axis] > 1 && scaleShape[axis] < shape[axis])
                return new TileSize(shape[axis] / scaleShape[axis]);
        }

        return null;
    }

    private static string ModuleOf(string name) => name.LastIndexOf('.') is var dot and >= 0 ? name[..dot] : "";

    private static string Pattern(string path, bool numbersAreOne) =>
        string.Join(@"\.", path.Split('.').Select(p => numbersAreOne && p.Length > 0 && p.All(char.IsAsciiDigit) ? "[^.]+" : Regex.Escape(p)));
}
