using QwixSharp.Ops;
using QwixSharp.Ops.Training;
using QwixSharp.Rules;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Providers;

/// <summary>
/// Training with quantization: the model keeps its floating-point parameters, and every forward pass quantizes them anew.
/// A plain <see cref="QuantizationRule"/> is quantization-aware training; a <see cref="QtRule"/> can quantize the backward
/// pass too.
/// </summary>
/// <remarks>
/// The gradient is that of the straight-through estimator. Activations with a static scale gather their statistics while
/// the module that calls the op is in training mode; in evaluation mode these are as they are. When training is done, quantize
/// the model that training used with a <see cref="PtqProvider"/>: its static scales come from the statistics.
/// </remarks>
public class QtProvider : QuantizationProvider
{
    /// <summary>Creates a provider.</summary>
    /// <param name="rules">The rules in order of precedence; plain ones and <see cref="QtRule"/>s.</param>
    /// <exception cref="RuleException">A rule contradicts itself, or its path is not a regular expression.</exception>
    public QtProvider(IEnumerable<QuantizationRule> rules) : base(rules)
    {
    }

    /// <summary>Where stochastic rounding draws its noise; null draws from libtorch's own random state. The caller owns it.</summary>
    public Generator? Generator { get; init; }

    internal override bool IsForTraining => true;

    /// <summary>A class of the user's may give products of its own.</summary>
    internal override bool CanWriteOverProducts => GetType() == typeof(QtProvider);

    /// <inheritdoc/>
    protected override QuantizationRule InitRule(QuantizationRule rule)
    {
        var filled = base.InitRule(rule);
        return filled as QtRule ?? new QtRule(filled);
    }

    /// <inheritdoc/>
    protected internal override Tensor DotGeneral(OpSite site, ModelOperand lhs, ModelOperand rhs, DotDimensionNumbers dimensionNumbers)
    {
        ArgumentNullException.ThrowIfNull(site);
        ArgumentNullException.ThrowIfNull(dimensionNumbers);
        // A transposed weight has its channels in memory's order only as the parameter itself.
        var stored = new DotDimensionNumbers(
            OpSite.WeightAxes(lhs, dimensionNumbers.LhsContracting),
            OpSite.WeightAxes(rhs, dimensionNumbers.RhsContracting),
            OpSite.WeightAxes(lhs, dimensionNumbers.LhsBatch),
            OpSite.WeightAxes(rhs, dimensionNumbers.RhsBatch));
        using var scope = NewDisposeScope();
        Tensor left = Stored(lhs), right = Stored(rhs);
        if (left.device_type == DeviceType.META || right.device_type == DeviceType.META)
            return DotGeneralOp.Compute(left, right, stored, null).MoveToOuterDisposeScope();
        var product = Guard(site, () => DotGeneralTraining.Compute(left, right, stored, Settings(site, lhs, rhs)));
        return PtqProvider.Spread(site, product, lhs, rhs, (l, r) => DotGeneralOp.Compute(l, r, dimensionNumbers, null)).MoveToOuterDisposeScope();
    }

    /// <inheritdoc/>
    protected internal override Tensor Einsum(OpSite site, string equation, IReadOnlyList<ModelOperand> operands)
    {
        ArgumentNullException.ThrowIfNull(site);
        ArgumentNullException.ThrowIfNull(equation);
        ArgumentNullException.ThrowIfNull(operands);
        PtqProvider.CheckEinsum(site, equation, operands);
        ModelOperand first = operands[0], second = operands[1];
        if (first.Value.device_type == DeviceType.META || second.Value.device_type == DeviceType.META)
            return EinsumOp.Compute(equation, null, [first.Value, second.Value]);
        return Guard(site, () =>
        {
            int firstRank = (int)first.Value.dim(), secondRank = (int)second.Value.dim();
            var (ordered, lhs, rhs) = EinsumSides.AreExchanged(equation, firstRank, secondRank)
                ? (EinsumSides.Exchange(equation, firstRank, secondRank), second, first)
                : (equation, first, second);
            var settings = Settings(site, lhs, rhs);
            var product = EinsumOp.Compute(ordered, null, [lhs.Value, rhs.Value], (l, r, numbers) => DotGeneralTraining.Compute(l.Tensor!, r.Tensor!, numbers, settings));
            return PtqProvider.Spread(site, product, lhs, rhs, (l, r) => EinsumOp.Compute(ordered, null, [l, r]));
        });
    }

    /// <inheritdoc/>
    protected internal override Tensor Convolution(OpSite site, ModelOperand input, ModelOperand weight, ConvolutionCall convolution)
    {
        ArgumentNullException.ThrowIfNull(site);
        ArgumentNullException.ThrowIfNull(convolution);
        PtqProvider.CheckConvolution(site);
        if (input.Value.device_type == DeviceType.META || weight.Value.device_type == DeviceType.META)
            return PtqProvider.Convolve(input.Value, weight.Value, convolution);
        var rule = (QtRule)site.Rule;
        var settings = new TrainingSettings
        {
            Lhs = Activation(site, "lhs"),
            Rhs = Weight(rule),
            LhsGradient = Gradient(rule, forWeight: false),
            RhsGradient = Gradient(rule, forWeight: true),
            DisableChannelwiseAxes = rule.DisableChannelwiseAxes,
        };
        var gradient = new ConvolutionGradient(convolution.Strides, convolution.Padding, convolution.Dilation, convolution.Groups, convolution.Transposed, convolution.OutputPadding);
        var result = Guard(site, () => ConvGeneralTraining.Compute(input.Value, weight.Value, (x, w) => PtqProvider.Convolve(x, w, convolution), gradient, settings));
        return PtqProvider.Spread(site, result, input, weight, (x, w) => PtqProvider.Convolve(x, w, convolution));
    }

    /// <inheritdoc/>
    protected internal override Tensor Embedding(OpSite site, ModelOperand table, Tensor indices)
    {
        ArgumentNullException.ThrowIfNull(site);
        ArgumentNullException.ThrowIfNull(indices);
        using var scope = NewDisposeScope();
        var rows = table.Value.index_select(0, indices);
        if (rows.device_type == DeviceType.META)
            return rows.MoveToOuterDisposeScope();
        // A row of the table is a channel, so that the rows taken are rounded as the whole table would be.
        var rule = site.Rule;
        return Guard(site, () => FakeQuantOp.Compute(rows, DotGeneralOp.HowToQuantize(new([0], [1]), 1, 2, false, rule.WeightQType!, rule.TileSize, rule.WeightCalibrationMethod))).MoveToOuterDisposeScope();
    }

    private TrainingSettings Settings(OpSite site, ModelOperand lhs, ModelOperand rhs)
    {
        var rule = (QtRule)site.Rule;
        var (ofLhs, ofRhs) = (Gradient(rule, lhs.IsWeight), Gradient(rule, rhs.IsWeight));
        ofLhs = ofLhs with { ResidualQType = rule.DlhsResidualQType, ResidualCalibration = rule.DlhsResidualCalibrationMethod };
        ofRhs = ofRhs with { ResidualQType = rule.DrhsResidualQType, ResidualCalibration = rule.DrhsResidualCalibrationMethod };
        return new TrainingSettings
        {
            Lhs = lhs.IsWeight ? Weight(rule) : Activation(site, "lhs"),
            Rhs = rhs.IsWeight ? Weight(rule) : Activation(site, "rhs"),
            LhsGradient = ofLhs,
            RhsGradient = ofRhs,
            DisableChannelwiseAxes = rule.DisableChannelwiseAxes,
            UseOriginalResiduals = rule.UseOriginalResiduals ?? rule.BwdQType is null,
            DisableGradientClipping = rule.DisableGradientClipping,
        };
    }

    private static OperandSettings Weight(QtRule rule) =>
        new() { QType = rule.WeightQType, Tiling = rule.TileSize, Calibration = rule.WeightCalibrationMethod };

    private static OperandSettings Activation(OpSite site, string side) => site.Rule.ActQType is not { } qtype ? OperandSettings.Plain : new()
    {
        QType = qtype,
        Tiling = site.ActTiling,
        Calibration = site.Rule.ActCalibrationMethod!,
        Average = site.Rule.ActStaticScale == true ? range => site.Average(range, side) : null,
    };

    private GradientSettings Gradient(QtRule rule, bool forWeight) => new()
    {
        QType = rule.BwdQType,
        Calibration = rule.BwdCalibrationMethod,
        TileSize = forWeight ? rule.BwdWeightGradTileSize : null,
        Noise = rule.BwdStochasticRounding switch
        {
            null => null,
            RoundingNoise.Uniform => (shape, device) => StochasticRounding.Uniform(shape, rule.ChannelwiseNoiseAxes, Generator, device),
            _ => (shape, device) => StochasticRounding.LowBitUniform(shape, rule.ChannelwiseNoiseAxes, Generator, device),
        },
    };

    /// <summary>The operand with the axes of its parameter.</summary>
    private static Tensor Stored(ModelOperand operand) => operand.Weight is { Permutation: not null } ? operand.Value.t() : operand.Value.alias();

    private static Tensor Guard(OpSite site, Func<Tensor> compute) => PtqProvider.Guard(site, compute);
}
