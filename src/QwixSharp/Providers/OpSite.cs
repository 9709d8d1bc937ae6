using QwixSharp.Arrays;
using QwixSharp.Interception;
using QwixSharp.Ops;
using QwixSharp.Providers.Lora;
using QwixSharp.Providers.Models;
using QwixSharp.Rules;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Providers;

/// <summary>One op in a model's forward pass: where it is, the rule it falls under, and the quantized values it may use.</summary>
public sealed class OpSite
{
    private readonly ModelState _state;
    private readonly nn.Module _module;
    private readonly int _count;

    internal OpSite(ModelState state, QuantizationRule rule, in OpCall call, string opName, int count)
    {
        _state = state;
        Rule = rule;
        ModulePath = call.ModulePath;
        _module = call.Module;
        OpName = opName;
        OpId = opName + count;
        _count = count;
    }

    /// <summary>The first rule that matches.</summary>
    public QuantizationRule Rule { get; }

    /// <summary>The dotted path of the module that calls the op.</summary>
    public string ModulePath { get; }

    /// <summary>The op's name, one of <see cref="OpNames"/>.</summary>
    public string OpName { get; }

    /// <summary>The op's name and its number among the ops of that name that the module has called, such as <c>dot_general0</c>.</summary>
    public string OpId { get; }

    /// <summary>The quantized form of the weight that the op has used last; null where it has used none.</summary>
    internal QArray? QuantizedWeight { get; private set; }

    /// <summary>The model's adapters, where it has any.</summary>
    internal LoraAdapters? Adapters => _state.Adapters;

    /// <summary>Whether the module that calls the op is in training mode.</summary>
    internal bool IsInTraining => _module.training;

    /// <summary>The tiles of activations: a map of axes is meant for the weight, and its activation has one scale along its contraction.</summary>
    internal Tiling? ActTiling => Rule.TileSize is { Axes: null } ? Rule.TileSize : null;

    /// <summary>The place of an operand's statistics, such as <c>layers.0.proj.dot_general0_lhs</c>.</summary>
    internal string Place(string side) => QuantizedState.Join(ModulePath, $"{OpId}_{side}");

    /// <summary>The module and op, for messages.</summary>
    /// <returns>Such as <c>dot_general0 in module "layers.0.proj"</c>.</returns>
    public override string ToString() => $"{OpId} in module \"{ModulePath}\"";

    /// <summary>
    /// The quantized form of a weight, made at first use and kept with the model. Its axes are the parameter's, whatever
    /// order the op sees them in; see <see cref="WeightAxes"/>.
    /// </summary>
    /// <param name="weight">An operand that is a weight.</param>
    /// <param name="key">What, besides the rule and the op, decides how it is quantized; equal keys must mean equal ways.</param>
    /// <param name="how">Says how, in terms of the parameter's axes.</param>
    /// <returns>The array; it stays the model's, do not dispose it.</returns>
    /// <exception cref="QwixException">The weight cannot be quantized so; the message names it.</exception>
    public QArray QuantizeWeight(ModelOperand weight, long key, Func<HowToQuantize> how) => QuantizedWeight = _state.Weights.Get(this, weight, key, how);

    /// <summary>
    /// Lets later calls of this module's linear layer skip the provider, where the rule decides everything and nothing but a
    /// static scale is looked up at each call.
    /// </summary>
    /// <param name="weight">The weight, [out, in] as the op sees it.</param>
    /// <param name="array">Its quantized form.</param>
    internal void RememberLinear(ModelOperand weight, QArray array)
    {
        if (weight.Weight is not { View: "", Permutation: null } use)
            return;
        bool isDynamic = Rule.ActQType is null || (Rule.ActStaticScale != true && Rule.ActCalibrationMethod is { Kind: CalibrationKind.AbsMax, Factor: null });
        if (isDynamic && PackedLinear.TryMake(array, Rule.ActQType, ActTiling is not null) is { } layer)
            _state.Remember(use, ModulePath, layer);
        if (Rule is { ActStaticScale: true, ActQType: { } qtype } && StaticLinear.TryMake(array, qtype) is { } withScale)
            _state.Remember(use, ModulePath, new RememberedLinear(withScale, _count, Place("lhs")));
    }

    /// <summary>
    /// Lets later calls of this module's convolution be computed together with what follows, where its input has a static scale, or one
    /// made of the largest magnitude of each image.
    /// </summary>
    /// <param name="weight">The weight as the op sees it.</param>
    /// <param name="array">Its quantized form.</param>
    /// <param name="call">How it moves over its input.</param>
    internal void RememberConvolution(ModelOperand weight, QArray array, ConvolutionCall call)
    {
        if (Rule.ActQType is not { } qtype || call.Transposed || weight.Weight is not { View: "", Permutation: null } use)
            return;
        bool isStatic = Rule.ActStaticScale == true;
        if (!isStatic && (Rule.ActCalibrationMethod is not { Kind: CalibrationKind.AbsMax, Factor: null } || qtype.Bits < 2))
            return;
        if (ConvolutionLayer.TryMake(array, qtype, call.Strides, call.Padding, call.Dilation, call.Groups) is { } layer)
            _state.Remember(use, ModulePath, new RememberedConvolution(layer, _count, isStatic ? Place("lhs") : null));
    }

    /// <summary>The parameter's axes for axes of an operand.</summary>
    /// <param name="operand">An operand.</param>
    /// <param name="axes">Axes of the operand as the op sees it.</param>
    /// <returns>Axes of the parameter; the same for an activation.</returns>
    public static IReadOnlyList<int> WeightAxes(ModelOperand operand, IReadOnlyList<int> axes) => operand.Weight?.RootAxes(axes) ?? axes;

    /// <summary>Quantizes an activation: with the range of its own values, or with a static scale where the rule says so.</summary>
    /// <param name="activation">The activation.</param>
    /// <param name="how">How to quantize it.</param>
    /// <param name="side">Which operand it is: <c>lhs</c> or <c>rhs</c>.</param>
    /// <returns>A QArray that the caller owns.</returns>
    public QArray QuantizeActivation(Tensor activation, HowToQuantize how, string side)
    {
        ArgumentNullException.ThrowIfNull(activation);
        ArgumentNullException.ThrowIfNull(how);
        bool isAbstract = activation.device_type == DeviceType.META;
        if (Rule.ActStaticScale != true)
            return isAbstract ? Quantizer.Abstract(activation, how) : Quantizer.Quantize(activation, how);
        var place = Place(side);
        var scale = _state.StaticScales.Get(place, activation, how, Rule.ActBatchAxes, _state.Statistics);
        if (isAbstract)
            return Quantizer.Abstract(activation, how);
        CheckFits(place, activation, scale.Scale);
        return Quantizer.Quantize(activation, how.QType, scale.Scale, scale.ZeroPoint);
    }

    /// <summary>The range that a static scale is made of: the mean of all that were seen in training mode, this one included.</summary>
    /// <param name="range">The range of an activation.</param>
    /// <param name="side">Which operand it is.</param>
    /// <returns>A range that the caller owns.</returns>
    /// <exception cref="QwixException">In evaluation mode nothing was seen before, or the shapes of ranges changed.</exception>
    internal CalibrationRange Average(CalibrationRange range, string side)
    {
        var place = Place(side);
        var mean = StaticScales.MeanOverBatch(range, Rule.ActBatchAxes);
        if (_state.IsLearning)
        {
            _state.Statistics.Reserve(place, mean);
            return mean;
        }

        using (mean)
        {
            if (IsInTraining)
                _state.Statistics.Update(place, mean);
            else if (!_state.Statistics.WasSeen(place))
                throw new QwixException($"No statistics were gathered for the static scale \"{place}\" of {this}. Run some batches in training mode (model.train()) before evaluation, or load a state dict that has them.");
            return _state.Statistics.GetRange(place, mean);
        }
    }

    private void CheckFits(string place, Tensor activation, Tensor scale)
    {
        long[] shape = activation.shape, scaleShape = scale.shape;
        bool fits = shape.Length == scaleShape.Length && shape.Zip(scaleShape).All(pair => pair.Second == 1 || (pair.First > 0 && pair.Second > 0 && pair.First % pair.Second == 0));
        if (!fits)
            throw new QwixException($"The static scale \"{place}\" has the shape [{string.Join(", ", scaleShape)}], which does not fit an activation of shape [{string.Join(", ", shape)}] at {this}. Name the axes whose length varies in ActBatchAxes; it is [{string.Join(", ", Rule.ActBatchAxes)}].");
    }
}
