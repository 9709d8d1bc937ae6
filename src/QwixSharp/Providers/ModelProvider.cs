using QwixSharp.Providers.Models;
using QwixSharp.Rules;

namespace QwixSharp.Providers;

/// <summary>
/// A mode of quantizing models with its rules: what <c>Qwix.QuantizeModel</c> takes. <see cref="QuantizationProvider"/>
/// is the base of modes that quantize products; <see cref="OdmlQatProvider"/> sees every op.
/// </summary>
/// <remarks>A provider keeps no state of models, so that one may serve several.</remarks>
public abstract class ModelProvider
{
    private readonly RuleMatcher _matcher;
    private volatile bool _hasRun;

    /// <exception cref="RuleException">A rule contradicts itself, or its path is not a regular expression.</exception>
    private protected ModelProvider(IEnumerable<QuantizationRule> rules)
    {
        ArgumentNullException.ThrowIfNull(rules);
        _matcher = new RuleMatcher([.. rules.Select(InitRule)]);
        if (_matcher.Rules.Count == 0)
            throw new RuleException("A provider needs at least one rule.");
    }

    /// <summary>The rules, with defaults filled in.</summary>
    public IReadOnlyList<QuantizationRule> Rules => _matcher.Rules;

    /// <summary>
    /// Whether a model is refused where interception cannot see all of its code; otherwise such code runs unquantized.
    /// </summary>
    public bool Strict { get; init; }

    /// <summary>The rules that matched no op of any model quantized with this provider.</summary>
    /// <returns>The rules, in their order.</returns>
    /// <exception cref="InvalidOperationException">No model has been quantized yet.</exception>
    public IReadOnlyList<QuantizationRule> GetUnusedRules() => _hasRun
        ? _matcher.Unused()
        : throw new InvalidOperationException("No model has been quantized with this provider yet: call Qwix.QuantizeModel first.");

    /// <summary>Checks a rule and fills in the provider's defaults.</summary>
    /// <param name="rule">The rule as the user wrote it.</param>
    /// <returns>The rule to use.</returns>
    /// <exception cref="RuleException">The rule contradicts itself.</exception>
    protected virtual QuantizationRule InitRule(QuantizationRule rule)
    {
        ArgumentNullException.ThrowIfNull(rule);
        RuleValidation.Check(rule, OpNames.All);
        return rule with
        {
            ActStaticScale = rule.ActStaticScale ?? false,
            ActCalibrationMethod = rule.ActCalibrationMethod ?? Arrays.CalibrationMethod.AbsMax(),
        };
    }

    /// <summary>
    /// Whether the provider is for training, and gives way to one that comes after it: a trained model is quantized for good
    /// from its weights and statistics, not on top of what training simulated.
    /// </summary>
    internal virtual bool IsForTraining => false;

    /// <summary>Whether the model's own parameters are frozen: no gradient flows to them, and the quantized model shows them as buffers.</summary>
    internal virtual bool FreezesParameters => false;

    internal QuantizationRule? Match(string modulePath, string opName) => _matcher.Match(modulePath, opName);

    internal void MarkRun() => _hasRun = true;

    /// <summary>Whether this provider can quantize what another has left of a model.</summary>
    internal abstract bool CanFollow(ModelProvider other);

    /// <summary>What sees the ops of one forward pass of a model.</summary>
    internal abstract IModelRun StartRun(ModelState state);
}
