using QwixSharp.Ops;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.Providers;

/// <summary>
/// A quantization mode: says what becomes of the products inside a model. Derive from it for a mode of your own; see
/// <see cref="PtqProvider"/> for one.
/// </summary>
/// <remarks>
/// Whatever TorchSharp op a model calls, it reaches a provider as one of four: a general dot product, an Einstein sum, a
/// general convolution, or an embedding look-up. A provider keeps no state of models, so that one may serve several.
/// </remarks>
public abstract class QuantizationProvider
{
    private readonly RuleMatcher _matcher;
    private volatile bool _hasRun;

    /// <summary>Creates a provider.</summary>
    /// <param name="rules">The rules in order of precedence: for each op the first that matches wins.</param>
    /// <exception cref="RuleException">A rule contradicts itself, or its path is not a regular expression.</exception>
    protected QuantizationProvider(IEnumerable<QuantizationRule> rules)
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

    /// <summary>
    /// Whether the provider is for training, and gives way to one that comes after it: a trained model is quantized for good
    /// from its weights and statistics, not on top of what training simulated.
    /// </summary>
    internal virtual bool IsForTraining => false;

    /// <summary>Checks a rule and fills in the provider's defaults.</summary>
    /// <param name="rule">The rule as the user wrote it.</param>
    /// <returns>The rule to use.</returns>
    /// <exception cref="RuleException">The rule contradicts itself.</exception>
    protected virtual QuantizationRule InitRule(QuantizationRule rule)
    {
        ArgumentNullException.ThrowIfNull(rule);
        RuleValidation.Check(rule);
        return rule with
        {
            ActStaticScale = rule.ActStaticScale ?? false,
            ActCalibrationMethod = rule.ActCalibrationMethod ?? Arrays.CalibrationMethod.AbsMax(),
        };
    }

    /// <summary>Whether an op that a rule matches is this provider's to compute; otherwise it runs as the model wrote it.</summary>
    /// <param name="rule">The first rule that matches the op.</param>
    /// <returns>True where the rule has a weight type, unless overridden.</returns>
    protected internal virtual bool Handles(QuantizationRule rule)
    {
        ArgumentNullException.ThrowIfNull(rule);
        return rule.WeightQType is not null;
    }

    /// <summary>Computes a general dot product (linear, matmul, bmm, …, and the products inside attention).</summary>
    /// <param name="site">Where the op is, and its rule.</param>
    /// <param name="lhs">The left operand.</param>
    /// <param name="rhs">The right operand.</param>
    /// <param name="dimensionNumbers">Which axes are contracted and which are batch axes.</param>
    /// <returns>[batch…, free axes of lhs…, free axes of rhs…]; a new tensor.</returns>
    protected internal abstract Tensor DotGeneral(OpSite site, ModelOperand lhs, ModelOperand rhs, DotDimensionNumbers dimensionNumbers);

    /// <summary>Computes an Einstein sum.</summary>
    /// <param name="site">Where the op is, and its rule.</param>
    /// <param name="equation">The equation, as the model wrote it.</param>
    /// <param name="operands">The operands.</param>
    /// <returns>The sum; a new tensor.</returns>
    protected internal abstract Tensor Einsum(OpSite site, string equation, IReadOnlyList<ModelOperand> operands);

    /// <summary>Computes a convolution, without its bias.</summary>
    /// <param name="site">Where the op is, and its rule.</param>
    /// <param name="input">The input, [batch, features, spatial…].</param>
    /// <param name="weight">The kernel, [output features, input features ÷ groups, spatial…], or with the first two exchanged where transposed.</param>
    /// <param name="convolution">Strides, padding, dilation and groups.</param>
    /// <returns>[batch, output features, spatial…]; a new tensor.</returns>
    protected internal abstract Tensor Convolution(OpSite site, ModelOperand input, ModelOperand weight, ConvolutionCall convolution);

    /// <summary>Looks up rows of a table.</summary>
    /// <param name="site">Where the op is, and its rule.</param>
    /// <param name="table">The table, [rows, features…].</param>
    /// <param name="indices">Integer indices of any shape.</param>
    /// <returns>[shape of indices…, features…]; a new tensor.</returns>
    protected internal abstract Tensor Embedding(OpSite site, ModelOperand table, Tensor indices);

    /// <summary>Whether the model's own parameters are frozen: no gradient flows to them, and the quantized model shows them as buffers.</summary>
    internal virtual bool FreezesParameters => false;

    internal QuantizationRule? Match(string modulePath, string opName) => _matcher.Match(modulePath, opName);

    internal void MarkRun() => _hasRun = true;
}
