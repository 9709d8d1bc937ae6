using static TorchSharp.torch;

namespace QwixSharp.Rules;

/// <summary>Refuses rules that contradict themselves.</summary>
internal static class RuleValidation
{
    /// <param name="rule">The rule.</param>
    /// <param name="opNames">The names that the rule may have in its OpNames; null for any.</param>
    /// <exception cref="RuleException">The rule contradicts itself; the message says how.</exception>
    internal static void Check(QuantizationRule rule, IReadOnlySet<string>? opNames)
    {
        if (rule.ModulePath is null || rule.OpNames is null || rule.WeightCalibrationMethod is null || rule.ActBatchAxes is null)
            throw new RuleException("ModulePath, OpNames, WeightCalibrationMethod and ActBatchAxes of a rule cannot be null.");
        if (rule.ActQType is null && rule.ActStaticScale is not null)
            throw new RuleException($"ActStaticScale is set but ActQType is not: set ActQType to quantize activations, or leave ActStaticScale out. Rule: {rule}");
        if (opNames is not null && rule.OpNames.FirstOrDefault(name => !opNames.Contains(name)) is { } unknown)
            throw new RuleException($"OpNames has \"{unknown}\", which is no op. Known are: {string.Join(", ", opNames)}. Rule: {rule}");
        CheckSymmetry(rule, rule.WeightQType, rule.WeightCalibrationMethod, nameof(rule.WeightCalibrationMethod));
        CheckSymmetry(rule, rule.ActQType, rule.ActCalibrationMethod, nameof(rule.ActCalibrationMethod));
        CheckScales(rule);
        if (rule is QtRule training)
            CheckTraining(training);
    }

    private static void CheckScales(QuantizationRule rule)
    {
        if (rule.WeightScaleDtype is null)
            return;
        if (rule.WeightScaleDtype is not (ScalarType.Float16 or ScalarType.BFloat16))
            throw new RuleException($"WeightScaleDtype is {rule.WeightScaleDtype}, but scales are rounded to Float16 or BFloat16 only: leave it out for scales in the weight's dtype. Rule: {rule}");
        if (rule.WeightQType is { IsMicroScaled: true })
            throw new RuleException($"WeightScaleDtype is set, but {rule.WeightQType} has scales of its own type: leave it out. Rule: {rule}");
        if (rule is QtRule)
            throw new RuleException($"Training keeps scales in the weight's dtype: leave WeightScaleDtype out, and set it in the rules of the PtqProvider that follows. Rule: {rule}");
    }

    private static void CheckTraining(QtRule rule)
    {
        if (rule.BwdCalibrationMethod is null || rule.ChannelwiseNoiseAxes is null || rule.DlhsResidualCalibrationMethod is null || rule.DrhsResidualCalibrationMethod is null)
            throw new RuleException("BwdCalibrationMethod, ChannelwiseNoiseAxes, DlhsResidualCalibrationMethod and DrhsResidualCalibrationMethod of a rule cannot be null.");
        if (rule.BwdQType is null && (rule.BwdStochasticRounding is not null || rule.BwdWeightGradTileSize is not null))
            throw new RuleException($"BwdStochasticRounding and BwdWeightGradTileSize say how gradients are quantized, but BwdQType is not set, which says that they are. Rule: {rule}");
        CheckSymmetry(rule, rule.BwdQType, rule.BwdCalibrationMethod, nameof(rule.BwdCalibrationMethod));
        CheckSymmetry(rule, rule.DlhsResidualQType, rule.DlhsResidualCalibrationMethod, nameof(rule.DlhsResidualCalibrationMethod));
        CheckSymmetry(rule, rule.DrhsResidualQType, rule.DrhsResidualCalibrationMethod, nameof(rule.DrhsResidualCalibrationMethod));
        bool asymmetricResidual = rule.DlhsResidualQType is not null && !rule.DlhsResidualCalibrationMethod.IsSymmetric
            || rule.DrhsResidualQType is not null && !rule.DrhsResidualCalibrationMethod.IsSymmetric;
        if (rule.BwdQType is not null && !rule.BwdCalibrationMethod.IsSymmetric && asymmetricResidual)
            throw new RuleException($"Gradients and the operands they are multiplied with cannot both be asymmetric: give BwdCalibrationMethod or the residual's a symmetric method. Rule: {rule}");
    }

    private static void CheckSymmetry(QuantizationRule rule, Numerics.QType? qtype, Arrays.CalibrationMethod? method, string setting)
    {
        if (qtype is { SupportsAsymmetric: false } && method is { IsSymmetric: false })
            throw new RuleException($"{setting} is {method}, which is asymmetric, but {qtype} cannot have a zero point: only int4, int8 and int16 can. Rule: {rule}");
    }
}
