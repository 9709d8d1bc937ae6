using QwixSharp.Arrays;
using QwixSharp.Numerics;
using QwixSharp.Ops;
using QwixSharp.Rules;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Providers;

/// <summary>
/// Post-training quantization: weights are quantized once, activations (where the rule has
/// <see cref="QuantizationRule.ActQType"/>) at every call, with a dynamic range or a static scale.
/// </summary>
/// <remarks>
/// Without an activation type the product is that of the dequantized weight (weight-only). A product of two activations,
/// as in attention, is quantized where the rule has an activation type. Convolutions may be weight-only and of mixed types.
/// </remarks>
public class PtqProvider : QuantizationProvider
{
    /// <summary>Creates a provider.</summary>
    /// <param name="rules">The rules in order of precedence.</param>
    /// <exception cref="RuleException">A rule contradicts itself, or its path is not a regular expression.</exception>
    public PtqProvider(IEnumerable<QuantizationRule> rules) : base(rules)
    {
    }

    /// <summary>How an operand would be quantized with a type, tiles and a calibration.</summary>
    private delegate HowToQuantize How(QType qtype, Tiling? tiling, CalibrationMethod calibration);

    /// <inheritdoc/>
    protected internal override Tensor DotGeneral(OpSite site, ModelOperand lhs, ModelOperand rhs, DotDimensionNumbers dimensionNumbers)
    {
        ArgumentNullException.ThrowIfNull(site);
        ArgumentNullException.ThrowIfNull(dimensionNumbers);
        int lhsRank = (int)lhs.Value.dim(), rhsRank = (int)rhs.Value.dim();
        // Weights keep the axes of their parameter, however the op sees them.
        var stored = new DotDimensionNumbers(
            OpSite.WeightAxes(lhs, dimensionNumbers.LhsContracting),
            OpSite.WeightAxes(rhs, dimensionNumbers.RhsContracting),
            OpSite.WeightAxes(lhs, dimensionNumbers.LhsBatch),
            OpSite.WeightAxes(rhs, dimensionNumbers.RhsBatch));
        return Guard(site, () =>
        {
            using var left = Prepare(site, lhs, "lhs", AxesKey(stored.LhsContracting), (q, t, c) => DotGeneralOp.HowToQuantize(stored, lhsRank, rhsRank, true, q, t, c));
            using var right = Prepare(site, rhs, "rhs", AxesKey(stored.RhsContracting), (q, t, c) => DotGeneralOp.HowToQuantize(stored, lhsRank, rhsRank, false, q, t, c));
            if (left.IsAbstract || right.IsAbstract)
                return DotGeneralOp.Compute(lhs.Value, rhs.Value, dimensionNumbers, null);
            var product = DotGeneralOp.Compute(left.Operand, right.Operand, stored, null);
            // What a derived provider does besides must be done at every call.
            if (rhs.IsWeight && !lhs.IsWeight && IsLinear(dimensionNumbers, lhsRank, rhsRank) && GetType() == typeof(PtqProvider))
                site.RememberLinear(rhs, right.Operand.QArray!);
            return product;
        });
    }

    /// <inheritdoc/>
    protected internal override Tensor Einsum(OpSite site, string equation, IReadOnlyList<ModelOperand> operands)
    {
        ArgumentNullException.ThrowIfNull(site);
        ArgumentNullException.ThrowIfNull(equation);
        ArgumentNullException.ThrowIfNull(operands);
        if (operands.Count != 2)
            throw new QwixException($"The einsum \"{equation}\" at {site} has {operands.Count} operands; one of two can be quantized. Write it as several, or put a rule without WeightQType for it in front.");
        ModelOperand lhs = operands[0], rhs = operands[1];
        int lhsRank = (int)lhs.Value.dim(), rhsRank = (int)rhs.Value.dim();
        return Guard(site, () =>
        {
            var stored = StoredEquation(equation, operands);
            long key = stored.Aggregate(17L, (hash, letter) => unchecked((hash * 31) + letter));
            using var left = Prepare(site, lhs, "lhs", key, (q, t, c) => EinsumOp.HowToQuantize(stored, lhsRank, rhsRank, true, q, t, c));
            using var right = Prepare(site, rhs, "rhs", key, (q, t, c) => EinsumOp.HowToQuantize(stored, lhsRank, rhsRank, false, q, t, c));
            return left.IsAbstract || right.IsAbstract
                ? EinsumOp.Compute(equation, null, [lhs.Value, rhs.Value])
                : EinsumOp.Compute(stored, null, [left.Operand, right.Operand]);
        });
    }

    /// <inheritdoc/>
    protected internal override Tensor Convolution(OpSite site, ModelOperand input, ModelOperand weight, ConvolutionCall convolution)
    {
        ArgumentNullException.ThrowIfNull(site);
        ArgumentNullException.ThrowIfNull(convolution);
        if (site.Rule.WeightQType!.IsMicroScaled || site.Rule.ActQType is { IsMicroScaled: true })
            throw new QwixException($"{site} cannot be quantized: micro-scaled types need tiles, which convolutions do not have. Give convolutions another type by a rule in front with OpNames = [\"{OpNames.ConvGeneralDilated}\"]. Rule: {site.Rule}");
        int outputFeatures = convolution.Transposed ? 1 : 0;
        return Guard(site, () =>
        {
            // As in the reference, convolutions have no tiles.
            using var kernel = Prepare(site, weight, "rhs", outputFeatures, (q, _, c) => Channelwise(outputFeatures, q, c));
            using var activation = Prepare(site, input, "lhs", 0, (q, _, c) => Channelwise(0, q, c));
            bool isAbstract = activation.IsAbstract || kernel.IsAbstract;
            if (convolution.Transposed)
                return isAbstract ? TransposedConvolution.Abstract(input.Value, weight.Value, convolution) : TransposedConvolution.Compute(activation.Operand, kernel.Operand, convolution);
            return ConvGeneralOp.Compute(
                isAbstract ? input.Value : activation.Operand,
                isAbstract ? weight.Value : kernel.Operand,
                convolution.Strides,
                ConvPadding.Explicit([.. convolution.Padding]),
                lhsDilation: null,
                rhsDilation: convolution.Dilation,
                dimensionNumbers: null,
                featureGroupCount: (int)convolution.Groups,
                batchGroupCount: 1,
                preferredElementType: null);
        });
    }

    /// <inheritdoc/>
    protected internal override Tensor Embedding(OpSite site, ModelOperand table, Tensor indices)
    {
        ArgumentNullException.ThrowIfNull(site);
        ArgumentNullException.ThrowIfNull(indices);
        if (OpSite.WeightAxes(table, [0, 1])[0] != 0)
            throw new QwixException($"The embedding table \"{table.WeightName}\" is transposed at {site}; take rows of the parameter itself.");
        return Guard(site, () =>
        {
            // Rows are quantized as an output layer tied to the table would quantize them.
            using var rows = Prepare(site, table, "rhs", AxesKey([1]), (q, t, c) => DotGeneralOp.HowToQuantize(new([0], [1]), 1, 2, false, q, t, c));
            if (rows.IsAbstract)
                return empty([indices.shape[0], table.Value.shape[1]], table.Value.dtype, META);
            return rows.Operand.QArray is { } array ? RowLookup.Take(array, indices) : table.Value.index_select(0, indices);
        });
    }

    /// <summary>A weight's quantized form, an activation quantized where the rule says so, or an activation as it is.</summary>
    private static Prepared Prepare(OpSite site, ModelOperand operand, string side, long key, How how)
    {
        var rule = site.Rule;
        if (operand.IsWeight)
            return new Prepared(site.QuantizeWeight(operand, key, () => how(rule.WeightQType!, rule.TileSize, rule.WeightCalibrationMethod)), null);
        if (rule.ActQType is not { } qtype)
            return new Prepared(operand.Value, null);
        var quantized = site.QuantizeActivation(operand.Value, how(qtype, site.ActTiling, rule.ActCalibrationMethod!), side);
        return new Prepared(quantized, quantized);
    }

    private static bool IsLinear(DotDimensionNumbers numbers, int lhsRank, int rhsRank) =>
        rhsRank == 2 && numbers.LhsContracting is [var last] && last == lhsRank - 1 && numbers.RhsContracting is [1] && numbers.LhsBatch.Count == 0;

    private static HowToQuantize Channelwise(int axis, QType qtype, CalibrationMethod calibration) =>
        new() { QType = qtype, ChannelwiseAxes = [axis], Calibration = calibration };

    /// <summary>The equation in terms of the parameters' axes: a transposed weight has its two letters exchanged.</summary>
    private static string StoredEquation(string equation, IReadOnlyList<ModelOperand> operands)
    {
        var text = equation.Replace(" ", "");
        int arrow = text.IndexOf("->", StringComparison.Ordinal);
        string[] terms = (arrow < 0 ? text : text[..arrow]).Split(',');
        for (int i = 0; i < terms.Length && i < operands.Count; i++)
        {
            if (OpSite.WeightAxes(operands[i], [0])[0] == 0)
                continue;
            if (terms[i].Contains('.'))
                throw new QwixException($"The einsum \"{equation}\" uses the transposed weight \"{operands[i].WeightName}\" with an ellipsis. Name its two axes.");
            terms[i] = $"{terms[i][1]}{terms[i][0]}";
        }

        // Without an arrow the output is in alphabetical order, whatever the order of the terms.
        return string.Join(",", terms) + (arrow < 0 ? "" : text[arrow..]);
    }

    private static long AxesKey(IReadOnlyList<int> axes) => axes.Aggregate(1L, (key, axis) => (key * 16) + axis);

    /// <summary>Says where an op is that cannot be quantized as its rule asks.</summary>
    private static Tensor Guard(OpSite site, Func<Tensor> compute)
    {
        try
        {
            return compute();
        }
        catch (ArgumentException error)
        {
            throw new QwixException($"{site} cannot be quantized: {error.Message} Rule: {site.Rule}", error);
        }
    }

    /// <summary>An operand ready for a product; disposes what was quantized for it alone.</summary>
    private readonly struct Prepared(Operand operand, QArray? owned) : IDisposable
    {
        internal Operand Operand => operand;

        /// <summary>Whether there are only shapes, of a model on the meta device.</summary>
        internal bool IsAbstract => (operand.QArray?.Device ?? operand.Tensor!.device).type == DeviceType.META;

        public void Dispose() => owned?.Dispose();
    }
}
