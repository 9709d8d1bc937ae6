using QwixSharp.Ops;
using QwixSharp.Providers.Models;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.Providers;

/// <summary>
/// A quantization mode: says what becomes of the products inside a model. Derive from it for a mode of your own; see
/// <see cref="PtqProvider"/> for one.
/// </summary>
/// <remarks>
/// Whatever TorchSharp op a model calls, it reaches a provider as one of four: a general dot product, an Einstein sum, a
/// general convolution, or an embedding look-up.
/// </remarks>
public abstract class QuantizationProvider : ModelProvider
{
    /// <summary>Creates a provider.</summary>
    /// <param name="rules">The rules in order of precedence: for each op the first that matches wins.</param>
    /// <exception cref="RuleException">A rule contradicts itself, or its path is not a regular expression.</exception>
    protected QuantizationProvider(IEnumerable<QuantizationRule> rules) : base(rules)
    {
    }

    /// <summary>Whether an op that a rule matches is this provider's to compute; otherwise it runs as the model wrote it.</summary>
    /// <param name="rule">The first rule that matches the op.</param>
    /// <returns>True where the rule has a weight type, unless overridden.</returns>
    protected internal virtual bool Handles(QuantizationRule rule)
    {
        ArgumentNullException.ThrowIfNull(rule);
        return rule.WeightQType is not null;
    }

    /// <summary>Whether no backward pass needs the value of a product, so that a bias can be added in place.</summary>
    internal virtual bool CanWriteOverProducts => false;

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

    internal override bool CanFollow(ModelProvider other) => other is QuantizationProvider;

    internal override IModelRun StartRun(ModelState state) => new ModelRun(state);
}
