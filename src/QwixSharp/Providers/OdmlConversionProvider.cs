using QwixSharp.Arrays;
using QwixSharp.Calibration;
using QwixSharp.Numerics;
using QwixSharp.Providers.Models;
using QwixSharp.Providers.Odml;
using QwixSharp.Providers.Odml.Device;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.Providers;

/// <summary>
/// The last step before a file for devices: the model of <see cref="OdmlQatProvider"/>, with every scale and zero point a
/// fixed number and every fake-quant annotated with its own.
/// </summary>
/// <remarks>
/// The scales of weights come from the parameters given, those of activations from the statistics given: what training with
/// <see cref="OdmlQatProvider"/> left, or a pass over some batches of data (calibration).
/// </remarks>
public sealed class OdmlConversionProvider : OdmlQatProvider
{
    private readonly IReadOnlyDictionary<string, Tensor> _parameters;
    private readonly QuantStats _quantStats;
    private readonly SharedRanges _shared = new();

    /// <summary>Creates a provider.</summary>
    /// <param name="rules">The rules that the model was trained with.</param>
    /// <param name="parameters">The floating-point parameters by their paths, as <c>state_dict()</c> gives them; not changed, and to be kept as long as the model is called.</param>
    /// <param name="quantStats">The statistics of activations; to be kept as long as the model is called. May be empty where no rule has static scales.</param>
    /// <param name="disablePerChannelWeights">Whether weights have one scale a tensor instead of one a channel.</param>
    /// <param name="fixedRangeForInputs">The range of the model's inputs, as in training.</param>
    /// <param name="fixedRangeForOutputs">The range of the model's results, as in training.</param>
    /// <param name="strict">Whether a model is refused that has an op without a known kind, or code that cannot be seen.</param>
    /// <param name="ops">Kinds of ops, as in training.</param>
    /// <param name="roundAsDevice">
    /// Whether the model's results are those of LiteRT's kernels, code for code, rather than the reference's, which computes with
    /// fake-quantized numbers in floating point. It is slower, by about the time of the products in double precision.
    /// </param>
    /// <exception cref="RuleException">A rule contradicts itself, has tiles, or a type that is not int4, int8 or int16.</exception>
    public OdmlConversionProvider(
        IEnumerable<QuantizationRule> rules,
        IReadOnlyDictionary<string, Tensor> parameters,
        QuantStats quantStats,
        bool disablePerChannelWeights = false,
        (double Min, double Max)? fixedRangeForInputs = null,
        (double Min, double Max)? fixedRangeForOutputs = null,
        bool strict = true,
        IReadOnlyDictionary<string, OdmlOp>? ops = null,
        bool roundAsDevice = true)
        : base(rules, disablePerChannelWeights, fixedRangeForInputs, fixedRangeForOutputs, strict, ops)
    {
        ArgumentNullException.ThrowIfNull(parameters);
        ArgumentNullException.ThrowIfNull(quantStats);
        (_parameters, _quantStats, RoundsAsDevice) = (parameters, quantStats, roundAsDevice);
    }

    /// <summary>The fake-quants of the last forward pass, in program order; empty before <c>Qwix.QuantizeModel</c> has run the model.</summary>
    public IReadOnlyList<FakeQuantAnnotation> FakeQuants { get; private set; } = [];

    /// <inheritdoc/>
    protected override QuantizationRule InitRule(QuantizationRule rule)
    {
        ArgumentNullException.ThrowIfNull(rule);
        foreach (var (qtype, setting) in new[] { (rule.WeightQType, nameof(rule.WeightQType)), (rule.ActQType, nameof(rule.ActQType)) })
        {
            if (qtype is not null && qtype != QType.Int4 && qtype != QType.Int8 && qtype != QType.Int16)
                throw new RuleException($"{setting} is {qtype}, which devices do not have. Use int4, int8 or int16. Rule: {rule}");
        }

        return base.InitRule(rule);
    }

    internal override bool IsForTraining => false;

    internal override bool RoundsBiases => true;

    internal override bool RoundsAsDevice { get; }

    internal override void OnEnd(OdmlRun run)
    {
        FakeQuants = run.Annotations;
        if (!run.State.IsLearning || !RoundsAsDevice)
            return;
        // Only now is it known which tensors are parts of one.
        _shared.End();
        FakeQuants = [.. FakeQuants.Select(f => f.WeightName is null && _shared.With(f.Place) is not null ? Shared(f) : f)];
    }

    internal override (FakeQuantAnnotation? Annotation, Func<Tensor> Compute) FakeQuant(OdmlRun run, FakeQuantRequest request)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        if (RoundsAsDevice && run.State.IsLearning)
            _shared.Note(request);
        var (scale, zeroPoint) = StaticScale(request);
        var annotation = Annotate(request, scale, zeroPoint);
        return (annotation, () => Compute(run, request, annotation));
    }

    private static Tensor Compute(OdmlRun run, FakeQuantRequest request, FakeQuantAnnotation annotation)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        if (run.RoundsAsDevice && annotation.Scale.Count == 1 && request.Weight is null)
        {
            var codes = DeviceCodes.Of(annotation, request.Tag is { HasFixedScale16: true });
            return (request.Tag?.Kernel?.Invoke(codes) ?? DeviceRounding.FakeQuantize(request.Tensor, codes)).MoveToOuterDisposeScope();
        }

        if (annotation.Scale.Count == 0 && request is { Dynamic: { } product, How.QType: var qtype } && qtype == QType.Int8 && run.RoundsAsDevice)
            return DynamicRange.FakeQuantize(request.Tensor, product).MoveToOuterDisposeScope();
        if (annotation.Scale.Count == 0)
            return Quantizer.Quantize(request.Tensor, request.How).Dequantize().MoveToOuterDisposeScope();
        long[] shape = [.. request.Tensor.shape.Select((length, axis) => axis == annotation.QuantizationDimension ? length : 1)];
        Tensor Numbers(Tensor values) => values.to(request.Tensor.device).reshape(shape);
        var scale = Numbers(tensor([.. annotation.Scale]));
        var zeroPoint = annotation.ZeroPoint is { } points ? Numbers(tensor([.. points]).to(Codec.CodeDtype(request.How.QType))) : null;
        return DeviceRounding.FakeQuantize(request.Tensor, request.How.QType, scale, zeroPoint).MoveToOuterDisposeScope();
    }

    /// <summary>The scale and zero point of a tensor; null where its range is found at run time.</summary>
    private (Tensor? Scale, Tensor? ZeroPoint) StaticScale(FakeQuantRequest request)
    {
        if (request.Weight is { } weight)
        {
            using var range = Calibrator.Calibrate(StoredValue(weight, request), request.How);
            return Calibrator.ComputeScaleZeroPoint(range, request.How.QType);
        }

        if (!request.HasStats)
            return (null, null);
        if (!_quantStats.WasSeen(request.Place))
            throw new QwixException($"There are no statistics for \"{request.Place}\", an input of {request.Site}. Call the model of OdmlQatProvider in training mode on some batches, with the same rules. Known are: {string.Join(", ", _quantStats.Places)}.");
        return StaticScale(request.Place, request.How.QType);
    }

    /// <summary>The scale and zero point of a place, which hold those of the places that share its range too.</summary>
    private (Tensor Scale, Tensor? ZeroPoint) StaticScale(string place, QType qtype)
    {
        using var scope = NewDisposeScope();
        var range = _quantStats.GetRange(place);
        foreach (var other in _shared.With(place) ?? [])
            range = SharedRanges.Union(range, _quantStats.GetRange(other));
        var (scale, zeroPoint) = Calibrator.ComputeScaleZeroPoint(range, qtype);
        return (scale.MoveToOuterDisposeScope(), zeroPoint?.MoveToOuterDisposeScope());
    }

    private FakeQuantAnnotation Shared(FakeQuantAnnotation annotation)
    {
        using var scope = NewDisposeScope();
        var (scale, zeroPoint) = StaticScale(annotation.Place, annotation.QType);
        return annotation with { Scale = Numbers(scale), ZeroPoint = Points(zeroPoint) };
    }

    private static float[] Numbers(Tensor? scale) => scale is null ? [] : scale.to(ScalarType.Float32).reshape(-1).data<float>().ToArray();

    private static long[]? Points(Tensor? zeroPoint) => zeroPoint?.to(ScalarType.Int64).reshape(-1).data<long>().ToArray();

    private Tensor StoredValue(WeightUse weight, FakeQuantRequest request)
    {
        if (!_parameters.TryGetValue(weight.Name, out var stored))
            throw new QwixException($"The parameters given have no \"{weight.Name}\", which {request.Site} takes. Give the whole state_dict() of the model.");
        if (!stored.shape.SequenceEqual(weight.Parameter.shape))
            throw new QwixException($"The parameter \"{weight.Name}\" given, which {request.Site} takes, has the shape [{string.Join(", ", stored.shape)}]; the model's has [{string.Join(", ", weight.Parameter.shape)}].");
        return weight.See(stored);
    }

    private static FakeQuantAnnotation Annotate(FakeQuantRequest request, Tensor? scale, Tensor? zeroPoint)
    {
        string source = request.Weight is { } weight ? $"parameter \"{weight.Name}\"" : $"\"{request.Place}\"";
        float[] scales = Numbers(scale);
        if (scales.Any(s => !float.IsFinite(s) || s <= 0))
            throw new QwixException($"A scale of {source}, which {request.Site} takes, is {scales.First(s => !float.IsFinite(s) || s <= 0)}. Its values or statistics are not finite: train or calibrate again.");
        int[] channels = scale is null ? [] : [.. Enumerable.Range(0, (int)scale.dim()).Where(axis => scale.shape[axis] > 1)];
        if (channels.Length > 1)
            throw new QwixException($"The scales of {source}, which {request.Site} takes, have the shape [{string.Join(", ", scale!.shape)}]; devices have scales along one axis only. Reshape the weight to a matrix, or pass disablePerChannelWeights: true.");
        return new FakeQuantAnnotation
        {
            ModulePath = request.Site.ModulePath,
            OpName = request.Site.OpName,
            OpId = request.Site.OpId,
            Operand = request.Operand,
            WeightName = request.Weight?.Name,
            Shape = request.Tensor.shape,
            QType = request.How.QType,
            Scale = scales,
            ZeroPoint = Points(zeroPoint),
            QuantizationDimension = channels.Length == 0 ? null : channels[0],
        };
    }
}
