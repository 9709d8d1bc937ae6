using QwixSharp.Arrays;
using QwixSharp.Checkpoints.Layouts;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Quantization;

/// <summary>
/// Says how the tensors of a checkpoint are quantized. A checkpoint has no ops, so the name and the rank of a tensor tell the op
/// that uses it: of those called <c>…weight</c>, a matrix belongs to an embedding where its module is called so, else to a
/// linear layer; three to five axes belong to a convolution.
/// </summary>
internal sealed class TensorPlanner(IReadOnlyList<QuantizationRule> rules, ScalarType? computeDtype)
{
    private readonly RuleMatcher _matcher = new(rules);

    /// <exception cref="CheckpointException">A rule cannot be followed, or the tensor is quantized already.</exception>
    internal PlannedTensor Plan(LogicalTensor tensor)
    {
        if (tensor is not PlainTensor)
            throw new CheckpointException($"Tensor {tensor} {(tensor.IsQuantized ? "is quantized already" : "cannot be streamed from its format")}. Dequantize the checkpoint to safetensors first.");
        var entry = tensor.Stored[0];
        int dot = tensor.Name.LastIndexOf('.');
        string module = dot < 0 ? "" : tensor.Name[..dot], parameter = tensor.Name[(dot + 1)..];
        if (!entry.Dtype.IsQuantizable())
            return Copy(tensor, null, $"{entry.TypeName} is not quantized");
        if (!parameter.EndsWith("weight", StringComparison.Ordinal))
            return Copy(tensor, null, "no weight");
        if (tensor.Shape.Count is < 2 or > 5)
            return Copy(tensor, null, $"{tensor.Shape.Count} axes");
        if (tensor.Shape.Contains(0))
            return Copy(tensor, null, "empty");
        if (_matcher.Match(module, OpOf(module, tensor.Shape.Count)) is not { } rule)
            return Copy(tensor, null, "no rule");
        if (rule.WeightQType is null)
            return Copy(tensor, rule, "left alone by its rule");
        return Quantize(tensor, rule);
    }

    /// <summary>How a planned tensor is quantized.</summary>
    internal static HowToQuantize How(PlannedTensor planned)
    {
        var rule = planned.Rule!;
        // As in the reference, convolutions have no tiles.
        var tiles = planned.Tensor.Shape.Count > 2 ? Tiling.Resolve(null, null) : Tiling.Resolve(rule.TileSize, 1);
        return new HowToQuantize
        {
            QType = rule.WeightQType!,
            ChannelwiseAxes = tiles.ContainsKey(0) ? [] : [0],
            TiledAxes = tiles,
            Calibration = rule.WeightCalibrationMethod,
            ScaleDtype = rule.WeightScaleDtype,
        };
    }

    private static string OpOf(string module, int rank)
    {
        if (rank > 2)
            return OpNames.ConvGeneralDilated;
        var name = module[(module.LastIndexOf('.') + 1)..];
        return name.Contains("embed", StringComparison.OrdinalIgnoreCase) || name is "wte" or "wpe" ? OpNames.Embedding : OpNames.DotGeneral;
    }

    private static PlannedTensor Copy(LogicalTensor tensor, QuantizationRule? rule, string reason)
    {
        var entry = tensor.Stored[0];
        return new PlannedTensor(tensor, rule, null, reason, [new TensorEntry(tensor.Name, entry.Dtype, [.. tensor.Shape])]);
    }

    private PlannedTensor Quantize(LogicalTensor tensor, QuantizationRule rule)
    {
        var planned = new PlannedTensor(tensor, rule, null, "", []);
        var dtype = computeDtype ?? tensor.Dtype;
        using var scope = NewDisposeScope();
        try
        {
            var array = Quantizer.Abstract(empty([.. tensor.Shape], dtype, META), How(planned));
            return planned with
            {
                Quantization = new TensorQuantization(array.QType, array.ScaleShape.ToArray(), array.ZeroPoint is not null),
                Outputs = QwixEntries.Of(tensor.Name, array.QType, array.Shape, array.ScaleShape, rule.WeightScaleDtype ?? dtype, array.ZeroPoint is not null),
            };
        }
        catch (ArgumentException error)
        {
            throw new CheckpointException($"Tensor {tensor} cannot be quantized: {error.Message} Rule: {rule}", error);
        }
    }
}
