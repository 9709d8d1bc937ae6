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
    }

    private static void CheckSymmetry(QuantizationRule rule, Numerics.QType? qtype, Arrays.CalibrationMethod? method, string setting)
    {
        if (qtype is { SupportsAsymmetric: false } && method is { IsSymmetric: false })
            throw new RuleException($"{setting} is {method}, which is asymmetric, but {qtype} cannot have a zero point: only int4, int8 and int16 can. Rule: {rule}");
    }
}
