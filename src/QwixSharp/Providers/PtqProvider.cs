using QwixSharp.Arrays;
using QwixSharp.Numerics;
using QwixSharp.Ops;
using QwixSharp.Ops.Training;
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

    /// <summary>
    /// Whether chains of small ops that the model calls, such as those of a norm, may be computed together and later than
    /// where they stand in its code, when no gradients are recorded. Results are the same up to float32 rounding.
    /// </summary>
    public bool FusesOps { get; init; } = true;

    /// <summary>How an operand would be quantized with a type, tiles and a calibration.</summary>
    private delegate HowToQuantize How(QType qtype, Tiling? tiling, CalibrationMethod calibration);

    /// <inheritdoc/>
    protected internal override Tensor DotGeneral(OpSite site, ModelOperand lhs, ModelOperand rhs, DotDimensionNumbers dimensionNumbers)
    {
        ArgumentNullException.ThrowIfNull(site);
        ArgumentNullException.ThrowIfNull(dimensionNumbers);
        int lhsRank = (int)lhs.Value.dim(), rhsRank = (int)rhs.Value.dim();
        var stored = Stored(lhs, rhs, dimensionNumbers);
        return WithoutGradient(site, [lhs, rhs], () =>
        {
            using var left = Prepare(site, lhs, "lhs", AxesKey(stored.LhsContracting), (q, t, c) => DotGeneralOp.HowToQuantize(stored, lhsRank, rhsRank, true, q, t, c));
            using var right = Prepare(site, rhs, "rhs", AxesKey(stored.RhsContracting), (q, t, c) => DotGeneralOp.HowToQuantize(stored, lhsRank, rhsRank, false, q, t, c));
            if (left.IsAbstract || right.IsAbstract)
                return DotGeneralOp.Compute(lhs.Value, rhs.Value, dimensionNumbers, null);
            var product = Spread(site, DotGeneralOp.Compute(left.Operand, right.Operand, stored, null), lhs, rhs, (l, r) => DotGeneralOp.Compute(l, r, dimensionNumbers, null));
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
        CheckEinsum(site, equation, operands);
        ModelOperand lhs = operands[0], rhs = operands[1];
        int lhsRank = (int)lhs.Value.dim(), rhsRank = (int)rhs.Value.dim();
        return WithoutGradient(site, operands, () =>
        {
            var stored = StoredEquation(equation, operands);
            long key = stored.Aggregate(17L, (hash, letter) => unchecked((hash * 31) + letter));
            var (leftSide, rightSide) = EinsumSides.AreExchanged(equation, lhsRank, rhsRank) ? ("rhs", "lhs") : ("lhs", "rhs");
            using var left = Prepare(site, lhs, leftSide, key, (q, t, c) => EinsumOp.HowToQuantize(stored, lhsRank, rhsRank, true, q, t, c));
            using var right = Prepare(site, rhs, rightSide, key, (q, t, c) => EinsumOp.HowToQuantize(stored, lhsRank, rhsRank, false, q, t, c));
            return left.IsAbstract || right.IsAbstract
                ? EinsumOp.Compute(equation, null, [lhs.Value, rhs.Value])
                : Spread(site, EinsumOp.Compute(stored, null, [left.Operand, right.Operand]), lhs, rhs, (l, r) => EinsumOp.Compute(equation, null, [l, r]));
        });
    }

    /// <inheritdoc/>
    protected internal override Tensor Convolution(OpSite site, ModelOperand input, ModelOperand weight, ConvolutionCall convolution)
    {
        ArgumentNullException.ThrowIfNull(site);
        ArgumentNullException.ThrowIfNull(convolution);
        CheckConvolution(site);
        int outputFeatures = convolution.Transposed ? 1 : 0;
        return WithoutGradient(site, [input, weight], () =>
        {
            // As in the reference, convolutions have no tiles.
            using var kernel = Prepare(site, weight, "rhs", outputFeatures, (q, _, c) => Channelwise(outputFeatures, q, c));
            using var activation = Prepare(site, input, "lhs", 0, (q, _, c) => Channelwise(0, q, c));
            if (activation.IsAbstract || kernel.IsAbstract)
                return Convolve(input.Value, weight.Value, convolution);
            var result = Spread(site, Convolve(activation.Operand, kernel.Operand, convolution), input, weight, (x, w) => Convolve(x, w, convolution));
            // What a derived provider does besides must be done at every call.
            if (weight.IsWeight && !input.IsWeight && GetType() == typeof(PtqProvider))
                site.RememberConvolution(weight, kernel.Operand.QArray!, convolution);
            return result;
        });
    }

    /// <summary>The convolution that a model calls for, of operands that are quantized or not.</summary>
    internal static Tensor Convolve(Operand input, Operand weight, ConvolutionCall convolution)
    {
        if (convolution.Transposed)
        {
            return input.Tensor is { device_type: DeviceType.META } x && weight.Tensor is { } w
                ? TransposedConvolution.Abstract(x, w, convolution)
                : TransposedConvolution.Compute(input, weight, convolution);
        }

        return ConvGeneralOp.Compute(
            input,
            weight,
            convolution.Strides,
            ConvPadding.Explicit([.. convolution.Padding]),
            lhsDilation: null,
            rhsDilation: convolution.Dilation,
            dimensionNumbers: null,
            featureGroupCount: (int)convolution.Groups,
            batchGroupCount: 1,
            preferredElementType: null);
    }

    /// <exception cref="QwixException">The rule asks for a type that convolutions cannot have.</exception>
    internal static void CheckEinsum(OpSite site, string equation, IReadOnlyList<ModelOperand> operands)
    {
        if (operands.Count != 2)
            throw new QwixException($"The einsum \"{equation}\" at {site} has {operands.Count} operands; one of two can be quantized. Write it as several, or put a rule without WeightQType for it in front.");
    }

    internal static void CheckConvolution(OpSite site)
    {
        if (site.Rule.WeightQType!.IsMicroScaled || site.Rule.ActQType is { IsMicroScaled: true })
            throw new QwixException($"{site} cannot be quantized: micro-scaled types need tiles, which convolutions do not have. Give convolutions another type by a rule in front with OpNames = [\"{OpNames.ConvGeneralDilated}\"]. Rule: {site.Rule}");
    }

    /// <inheritdoc/>
    protected internal override Tensor Embedding(OpSite site, ModelOperand table, Tensor indices)
    {
        ArgumentNullException.ThrowIfNull(site);
        ArgumentNullException.ThrowIfNull(indices);
        if (OpSite.WeightAxes(table, [0, 1])[0] != 0)
            throw new QwixException($"The embedding table \"{table.WeightName}\" is transposed at {site}; take rows of the parameter itself.");
        return WithoutGradient(site, [table], () =>
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
            return new Prepared(site.QuantizeWeight(operand, key, () => how(rule.WeightQType!, rule.TileSize, rule.WeightCalibrationMethod) with { ScaleDtype = rule.WeightScaleDtype }), null);
        if (rule.ActQType is not { } qtype)
            return new Prepared(operand.Value, null);
        var quantized = site.QuantizeActivation(operand.Value, how(qtype, site.ActTiling, rule.ActCalibrationMethod!), side);
        return new Prepared(quantized, quantized);
    }

    /// <summary>With a scale that is not made of the values, makes NaN of the results that depend on activations which are not finite.</summary>
    internal static Tensor Spread(OpSite site, Tensor result, ModelOperand lhs, ModelOperand rhs, Func<Operand, Operand, Tensor> compute)
    {
        bool isKnownBefore = site.Rule is { ActStaticScale: true } or { ActQType: not null, ActCalibrationMethod.Kind: CalibrationKind.Fixed };
        if (!isKnownBefore || !(IsNotFinite(lhs) || IsNotFinite(rhs)))
            return result;
        using var scope = NewDisposeScope();
        using (result)
            return result.add(MarksOfResult().to(result.dtype), LastingNumber.Of(1)).MoveToOuterDisposeScope();

        Tensor MarksOfResult()
        {
            using var noGrad = no_grad();
            return compute(Marks(lhs), Marks(rhs));
        }

        static bool IsNotFinite(ModelOperand operand) => !operand.IsWeight && NotFinite.IsIn(operand.Value);
        static Tensor Marks(ModelOperand operand) => operand.IsWeight ? NotFinite.Ones(operand.Value) : NotFinite.Marks(operand.Value);
    }

    private static bool IsLinear(DotDimensionNumbers numbers, int lhsRank, int rhsRank) =>
        rhsRank == 2 && numbers.LhsContracting is [var last] && last == lhsRank - 1 && numbers.RhsContracting is [1] && numbers.LhsBatch.Count == 0;

    private static HowToQuantize Channelwise(int axis, QType qtype, CalibrationMethod calibration) =>
        new() { QType = qtype, ChannelwiseAxes = [axis], Calibration = calibration };

    /// <summary>The dimension numbers in terms of the parameters' axes: weights keep these, however the op sees them.</summary>
    private protected static DotDimensionNumbers Stored(ModelOperand lhs, ModelOperand rhs, DotDimensionNumbers numbers) => new(
        OpSite.WeightAxes(lhs, numbers.LhsContracting),
        OpSite.WeightAxes(rhs, numbers.RhsContracting),
        OpSite.WeightAxes(lhs, numbers.LhsBatch),
        OpSite.WeightAxes(rhs, numbers.RhsBatch));

    /// <summary>The equation in terms of the parameters' axes: a transposed weight has its two letters exchanged.</summary>
    private protected static string StoredEquation(string equation, IReadOnlyList<ModelOperand> operands)
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

    /// <summary>
    /// Computes an op that has no gradient for weights, nor for activations that are quantized. In training mode a backward
    /// pass that would need one is refused. Weights that are frozen need none.
    /// </summary>
    private static Tensor WithoutGradient(OpSite site, IReadOnlyList<ModelOperand> operands, Func<Tensor> compute)
    {
        var result = Guard(site, compute);
        if (!is_grad_enabled() || !site.IsInTraining || result.device_type == DeviceType.META)
            return result;
        foreach (var operand in operands.Where(o => o.Value.requires_grad && (o.IsWeight || site.Rule.ActQType is not null)))
        {
            var what = operand.WeightName is { } name ? $"its weight \"{name}\"" : "its activation";
            return RefusedGradient.Mark(result, operand.Value, $"{site} is quantized by PtqProvider, which has no gradient for {what}. To train, make the model with QtProvider, or with LoraProvider for adapters; to compute without training, call eval(); to train other parameters only, freeze the weight (requires_grad = false).");
        }

        return result;
    }

    /// <summary>Says where an op is that cannot be quantized as its rule asks.</summary>
    internal static Tensor Guard(OpSite site, Func<Tensor> compute)
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
