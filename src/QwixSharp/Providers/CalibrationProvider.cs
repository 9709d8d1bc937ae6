using QwixSharp.Calibration;
using QwixSharp.Ops;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.Providers;

/// <summary>
/// Gathers statistics of activations for static scales: the model computes in floating point, and every activation that a
/// rule gives a static scale adds its range to <see cref="Stats"/>, averaged over its batch axes.
/// </summary>
/// <remarks>
/// Make a model with it by <c>Qwix.QuantizeModel</c>, whose input counts as the first batch, call that with some more
/// batches of real data, and give the statistics to <c>Qwix.QuantizeParams</c> or to the <see cref="PtqProvider"/>'s model.
/// </remarks>
public sealed class CalibrationProvider : QuantizationProvider
{
    /// <summary>Creates a provider.</summary>
    /// <param name="rules">The rules of the model that will be quantized, those with static scales among them.</param>
    /// <param name="stats">Where the statistics go; the caller owns it.</param>
    /// <exception cref="RuleException">A rule contradicts itself, or none has a static scale.</exception>
    public CalibrationProvider(IEnumerable<QuantizationRule> rules, QuantStats stats) : base(rules)
    {
        ArgumentNullException.ThrowIfNull(stats);
        if (Rules.All(r => r.ActStaticScale != true))
            throw new RuleException("No rule has a static scale, so that there is nothing to gather. Set ActStaticScale and ActQType.");
        Stats = stats;
    }

    /// <summary>The statistics gathered.</summary>
    public QuantStats Stats { get; }

    /// <inheritdoc/>
    protected internal override bool Handles(QuantizationRule rule) => base.Handles(rule) && rule.ActStaticScale == true;

    /// <inheritdoc/>
    protected internal override Tensor DotGeneral(OpSite site, ModelOperand lhs, ModelOperand rhs, DotDimensionNumbers dimensionNumbers)
    {
        ArgumentNullException.ThrowIfNull(site);
        int lhsRank = (int)lhs.Value.dim(), rhsRank = (int)rhs.Value.dim();
        Gather(site, lhs, "lhs", () => DotGeneralOp.HowToQuantize(dimensionNumbers, lhsRank, rhsRank, true, site.Rule.ActQType!, site.ActTiling, site.Rule.ActCalibrationMethod));
        Gather(site, rhs, "rhs", () => DotGeneralOp.HowToQuantize(dimensionNumbers, lhsRank, rhsRank, false, site.Rule.ActQType!, site.ActTiling, site.Rule.ActCalibrationMethod));
        return DotGeneralOp.Compute(lhs.Value, rhs.Value, dimensionNumbers, null);
    }

    /// <inheritdoc/>
    protected internal override Tensor Einsum(OpSite site, string equation, IReadOnlyList<ModelOperand> operands)
    {
        ArgumentNullException.ThrowIfNull(site);
        ArgumentNullException.ThrowIfNull(operands);
        if (operands.Count == 2)
        {
            int lhsRank = (int)operands[0].Value.dim(), rhsRank = (int)operands[1].Value.dim();
            var (left, right) = EinsumSides.AreExchanged(equation, lhsRank, rhsRank) ? ("rhs", "lhs") : ("lhs", "rhs");
            Gather(site, operands[0], left, () => EinsumOp.HowToQuantize(equation, lhsRank, rhsRank, true, site.Rule.ActQType!, site.ActTiling, site.Rule.ActCalibrationMethod));
            Gather(site, operands[1], right, () => EinsumOp.HowToQuantize(equation, lhsRank, rhsRank, false, site.Rule.ActQType!, site.ActTiling, site.Rule.ActCalibrationMethod));
        }

        return EinsumOp.Compute(equation, null, [.. operands.Select(o => (Operand)o.Value)]);
    }

    /// <inheritdoc/>
    protected internal override Tensor Convolution(OpSite site, ModelOperand input, ModelOperand weight, ConvolutionCall convolution)
    {
        ArgumentNullException.ThrowIfNull(site);
        ArgumentNullException.ThrowIfNull(convolution);
        Gather(site, input, "lhs", () => new() { QType = site.Rule.ActQType!, ChannelwiseAxes = [0], Calibration = site.Rule.ActCalibrationMethod! });
        return convolution.Transposed
            ? TransposedConvolution.Compute(input.Value, weight.Value, convolution)
            : ConvGeneralOp.Compute(input.Value, weight.Value, convolution.Strides, ConvPadding.Explicit([.. convolution.Padding]), null, convolution.Dilation, null, (int)convolution.Groups, 1, null);
    }

    /// <inheritdoc/>
    protected internal override Tensor Embedding(OpSite site, ModelOperand table, Tensor indices) => table.Value.index_select(0, indices);

    private void Gather(OpSite site, ModelOperand operand, string side, Func<Arrays.HowToQuantize> how)
    {
        if (operand.IsWeight)
            return;
        using var own = Arrays.Calibrator.Calibrate(operand.Value, how());
        using var range = Models.StaticScales.MeanOverBatch(own, site.Rule.ActBatchAxes);
        Stats.Update(site.Place(side), range);
    }
}
