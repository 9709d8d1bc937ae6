using QwixSharp.Arrays;
using QwixSharp.Ops;
using QwixSharp.Providers.Lora;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.Providers;

/// <summary>
/// Low-rank adapters: the parameters of the model are frozen, and each weight of an op that a <see cref="LoraRule"/>
/// matches gets an adapter that trains. A plain <see cref="QuantizationRule"/> among the rules quantizes without an adapter.
/// </summary>
/// <remarks>
/// Quantized base weights are computed with as <see cref="PtqProvider"/> does. Gradients flow through them as through
/// their dequantized numbers, which are made for one layer at a time; the rounding of activations is passed straight through.
/// </remarks>
public sealed class LoraProvider : PtqProvider
{
    /// <summary>Creates a provider.</summary>
    /// <param name="rules">The rules in order of precedence, at least one of them a <see cref="LoraRule"/>.</param>
    /// <exception cref="RuleException">A rule contradicts itself, or none is a <see cref="LoraRule"/>.</exception>
    public LoraProvider(IEnumerable<QuantizationRule> rules) : base(rules)
    {
        if (!Rules.OfType<LoraRule>().Any())
            throw new RuleException("No rule is a LoraRule, so that no weight would get an adapter. For quantization alone use PtqProvider.");
    }

    /// <summary>Creates a provider with one rule.</summary>
    /// <param name="rule">The rule.</param>
    /// <exception cref="RuleException">The rule contradicts itself.</exception>
    public LoraProvider(LoraRule rule) : this([rule])
    {
    }

    internal override bool FreezesParameters => true;

    /// <inheritdoc/>
    protected internal override bool Handles(QuantizationRule rule) => rule is LoraRule || base.Handles(rule);

    /// <inheritdoc/>
    protected override QuantizationRule InitRule(QuantizationRule rule)
    {
        if (rule is LoraRule lora)
        {
            if (lora.Rank < 1)
                throw new RuleException($"Rank is {lora.Rank}, but an adapter needs a rank of at least 1. Rule: {rule}");
            if (!double.IsFinite(lora.Alpha))
                throw new RuleException($"Alpha is {lora.Alpha}; it must be a finite number. Rule: {rule}");
            if (lora.Dropout is not (>= 0 and < 1))
                throw new RuleException($"Dropout is {lora.Dropout}; it is a probability of at least 0 and below 1. Rule: {rule}");
            if (lora is { DoubleQuantization: true, WeightQType: null })
                throw new RuleException($"DoubleQuantization is for the scales of a quantized weight: set WeightQType. Rule: {rule}");
        }

        return base.InitRule(rule);
    }

    /// <inheritdoc/>
    protected internal override Tensor DotGeneral(OpSite site, ModelOperand lhs, ModelOperand rhs, DotDimensionNumbers dimensionNumbers)
    {
        ArgumentNullException.ThrowIfNull(site);
        ArgumentNullException.ThrowIfNull(dimensionNumbers);
        var stored = Stored(lhs, rhs, dimensionNumbers);
        int lhsRank = (int)lhs.Value.dim(), rhsRank = (int)rhs.Value.dim();
        var product = Base(
            site, lhs, rhs,
            () => DotGeneralOp.Compute(lhs.Value, rhs.Value, dimensionNumbers, null),
            () => base.DotGeneral(site, lhs, rhs, dimensionNumbers),
            (gradient, weight) => lhs.IsWeight
                ? ProductGradients.OfRhs(gradient, weight, stored, rhsRank)
                : ProductGradients.OfLhs(gradient, weight, stored, lhsRank));
        return rhs.IsWeight && !lhs.IsWeight ? Adapted(site, product, lhs, rhs, () => new DotForm(dimensionNumbers, rhs.Value.shape)) : product;
    }

    /// <inheritdoc/>
    protected internal override Tensor Einsum(OpSite site, string equation, IReadOnlyList<ModelOperand> operands)
    {
        ArgumentNullException.ThrowIfNull(site);
        ArgumentNullException.ThrowIfNull(operands);
        if (operands.Count != 2)
            throw new QwixException($"The einsum \"{equation}\" at {site} has {operands.Count} operands; one of two can have an adapter. Write it as several, or put a rule without WeightQType for it in front.");
        ModelOperand lhs = operands[0], rhs = operands[1];
        Tensor Plain() => EinsumOp.Compute(equation, null, [lhs.Value, rhs.Value]);
        var backward = site.Rule.WeightQType is null ? null
            : ProductGradients.EquationOf(StoredEquation(equation, operands), [StoredShape(lhs), StoredShape(rhs)], lhs.IsWeight ? 1 : 0);
        var product = Base(
            site, lhs, rhs, Plain,
            () => base.Einsum(site, equation, operands),
            (gradient, weight) => EinsumOp.Compute(backward!, null, [gradient, weight]),
            hasGradient: backward is not null);
        return rhs.IsWeight && !lhs.IsWeight ? Adapted(site, product, lhs, rhs, () => new EinsumForm(equation, (int)lhs.Value.dim(), rhs.Value.shape)) : product;
    }

    /// <inheritdoc/>
    protected internal override Tensor Convolution(OpSite site, ModelOperand input, ModelOperand weight, ConvolutionCall convolution)
    {
        ArgumentNullException.ThrowIfNull(site);
        ArgumentNullException.ThrowIfNull(convolution);
        long[] inputShape = input.Value.shape, strides = [.. convolution.Strides], dilation = [.. convolution.Dilation];
        var product = Base(
            site, input, weight,
            () => ConvolutionForm.Convolve(input.Value, weight.Value, convolution),
            () => base.Convolution(site, input, weight, convolution),
            (gradient, kernel) => convolution.Transposed
                ? TransposedConvolution.InputGradient(gradient, kernel, convolution)
                : ProductGradients.OfConvolutionInput(gradient, kernel, inputShape, strides, [.. convolution.Padding], dilation, convolution.Groups));
        return weight.IsWeight ? Adapted(site, product, input, weight, () => new ConvolutionForm(convolution, weight.Value.shape)) : product;
    }

    /// <inheritdoc/>
    protected internal override Tensor Embedding(OpSite site, ModelOperand table, Tensor indices)
    {
        ArgumentNullException.ThrowIfNull(site);
        return site.Rule.WeightQType is null ? table.Value.index_select(0, indices) : base.Embedding(site, table, indices);
    }

    private static long[] StoredShape(ModelOperand operand)
    {
        var shape = operand.Value.shape;
        return OpSite.WeightAxes(operand, [0])[0] == 0 ? shape : [shape[1], shape[0]];
    }

    /// <summary>The product with the frozen weight.</summary>
    /// <param name="site">Where it is.</param>
    /// <param name="lhs">The left operand.</param>
    /// <param name="rhs">The right operand.</param>
    /// <param name="plain">The product in floating point.</param>
    /// <param name="quantized">The product as the rule quantizes it, without gradients.</param>
    /// <param name="gradient">The gradient of the activation of the result's and of the weight.</param>
    /// <param name="hasGradient">Whether there is such a function.</param>
    private static Tensor Base(OpSite site, ModelOperand lhs, ModelOperand rhs, Func<Tensor> plain, Func<Tensor> quantized, Func<Tensor, Operand, Tensor> gradient, bool hasGradient = true)
    {
        if (site.Rule.WeightQType is null)
            return plain();
        if (!is_grad_enabled() || !(lhs.Value.requires_grad || rhs.Value.requires_grad))
            return quantized();
        if (hasGradient && lhs.IsWeight != rhs.IsWeight)
            return LinearFunction.Apply(lhs.IsWeight ? rhs.Value : lhs.Value, quantized, g => Backward(g, site.QuantizedWeight!, gradient));
        if (site.Rule.ActQType is null)
            return quantized(); // autograd knows the product of two activations, and that with a dequantized weight
        if (lhs.IsWeight || rhs.IsWeight)
            throw new QwixException($"No gradient flows through {site} with quantized activations: its equation sums an index of one operand alone or stretches it. Write that as an op of its own, or leave ActQType out. Rule: {site.Rule}");
        using var scope = NewDisposeScope();
        var straight = plain();
        Tensor rounding;
        using (no_grad())
            rounding = quantized() - straight;
        return (straight + rounding).MoveToOuterDisposeScope();
    }

    /// <summary>The numbers of the weight are there during this call alone.</summary>
    private static Tensor Backward(Tensor gradient, QArray weight, Func<Tensor, Operand, Tensor> transpose)
    {
        using var lent = weight.Lend();
        return transpose(gradient, lent);
    }

    /// <summary>A product with what the active adapter adds to it.</summary>
    private static Tensor Adapted(OpSite site, Tensor product, ModelOperand input, ModelOperand weight, Func<LoraForm> form)
    {
        if (site.Rule is not LoraRule)
            return product;
        var makeForm = form();
        if (site.Adapters!.At(site, weight, makeForm) is not { } lora)
            return product;
        using var scope = NewDisposeScope();
        var x = lora.Dropout > 0 && site.IsInTraining ? nn.functional.dropout(input.Value, lora.Dropout, training: true) : input.Value;
        var sum = product.add(makeForm.Delta(x, lora.A, lora.B), alpha: lora.Scaling);
        product.Dispose();
        return sum.MoveToOuterDisposeScope();
    }
}
