using QwixSharp.Arrays;
using QwixSharp.Ops.Training;
using QwixSharp.Providers.Models;
using QwixSharp.Providers.Odml;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.Providers;

/// <summary>
/// Quantization-aware training for devices: every op computes as LiteRT will run it, with integers emulated in floating
/// point (fake-quant).
/// </summary>
/// <remarks>
/// <para>
/// Rules are for tensors, as on the device, not for ops: <see cref="QuantizationRule.WeightQType"/> is for the weights of
/// the op that a rule matches, and <see cref="QuantizationRule.ActQType"/> for its <em>output</em>, which is quantized where
/// the next op takes it, so that a product, its bias, batch norm and activation function fuse. Activations are asymmetric
/// (<c>minmax</c>) with one static scale a tensor, weights symmetric per channel. There are no tiles.
/// </para>
/// <para>
/// While a module is in training mode, the mean range of each of its tensors is gathered in
/// <see cref="IQuantizedModel.QuantStats"/>; in evaluation mode it is frozen. Values outside of it get no gradient, others
/// get theirs as if there was no rounding (straight-through estimator).
/// </para>
/// </remarks>
public class OdmlQatProvider : ModelProvider
{
    internal const string NotSeen = "It is made by code that interception cannot see, or of constants. Qwix.Inspect tells what is not seen; pass strict: false to leave the check out.";

    private readonly IReadOnlyDictionary<string, OdmlOp> _ops;

    /// <summary>Creates a provider.</summary>
    /// <param name="rules">The rules in order of precedence. Names of ops are PyTorch's, such as <c>add</c> or <c>layer_norm</c>, and those of <see cref="OpNames"/>.</param>
    /// <param name="disablePerChannelWeights">Whether weights have one scale a tensor instead of one a channel.</param>
    /// <param name="fixedRangeForInputs">The range of the model's inputs, such as (0, 1), in place of what is seen.</param>
    /// <param name="fixedRangeForOutputs">The range of the model's results, in place of what is seen.</param>
    /// <param name="strict">Whether a model is refused that has an op without a known kind, or code that cannot be seen.</param>
    /// <param name="ops">Kinds of ops, by name, that are unknown or that should be treated otherwise.</param>
    /// <exception cref="RuleException">A rule contradicts itself, or has tiles.</exception>
    /// <exception cref="ArgumentException">A fixed range is empty or does not contain 0.</exception>
    public OdmlQatProvider(
        IEnumerable<QuantizationRule> rules,
        bool disablePerChannelWeights = false,
        (double Min, double Max)? fixedRangeForInputs = null,
        (double Min, double Max)? fixedRangeForOutputs = null,
        bool strict = true,
        IReadOnlyDictionary<string, OdmlOp>? ops = null)
        : base(rules)
    {
        foreach (var range in new[] { fixedRangeForInputs, fixedRangeForOutputs })
            _ = range is { } given ? CalibrationMethod.Fixed(given.Min, given.Max) : null;
        _ops = ops ?? new Dictionary<string, OdmlOp>();
        PerChannelWeights = !disablePerChannelWeights;
        FixedRangeForInputs = fixedRangeForInputs;
        FixedRangeForOutputs = fixedRangeForOutputs;
        Strict = strict;
        CheckOpNames();
    }

    internal bool PerChannelWeights { get; }

    internal (double Min, double Max)? FixedRangeForInputs { get; }

    internal (double Min, double Max)? FixedRangeForOutputs { get; }

    /// <inheritdoc/>
    /// <remarks>Activations have static scales and the <c>minmax</c> calibration unless the rule says otherwise.</remarks>
    protected override QuantizationRule InitRule(QuantizationRule rule)
    {
        ArgumentNullException.ThrowIfNull(rule);
        RuleValidation.Check(rule, null);
        if (rule.TileSize is not null)
            throw new RuleException($"Devices have no tiles: leave TileSize out. Rule: {rule}");
        if (rule.WeightScaleDtype is not null)
            throw new RuleException($"Devices have scales in float32: leave WeightScaleDtype out. Rule: {rule}");
        return rule with
        {
            ActStaticScale = rule.ActStaticScale ?? (rule.ActQType is null ? null : true),
            ActCalibrationMethod = rule.ActCalibrationMethod ?? CalibrationMethod.MinMax(),
        };
    }

    internal override bool IsForTraining => true;

    /// <summary>Whether biases are rounded to steps of the sums that they are added to, as on the device.</summary>
    internal virtual bool RoundsBiases => false;

    /// <summary>Whether values are computed as the device's kernels do.</summary>
    internal virtual bool RoundsAsDevice => false;

    internal override bool CanFollow(ModelProvider other) => false;

    internal override IModelRun StartRun(ModelState state) => new OdmlRun(this, state);

    /// <summary>The kind of an op; null where it is not known.</summary>
    internal OdmlOp? Find(string name) => _ops.GetValueOrDefault(name) ?? OdmlOpTable.Ops.GetValueOrDefault(name);

    /// <summary>A forward pass has ended.</summary>
    internal virtual void OnEnd(OdmlRun run)
    {
    }

    /// <summary>How a tensor is fake-quantized: an annotation, where all numbers are known beforehand, and what does it.</summary>
    internal virtual (FakeQuantAnnotation? Annotation, Func<Tensor> Compute) FakeQuant(OdmlRun run, FakeQuantRequest request) => (null, () =>
    {
        if (!request.HasStats)
            return FakeQuantOp.Compute(request.Tensor, request.How);
        using var range = AverageRange(run, request);
        // Values may lie outside of a range that is a mean over batches, whatever the method.
        return FakeQuantOp.Compute(request.Tensor, request.How.QType, range, clipsGradient: true);
    }
    );

    /// <summary>The mean of the ranges that were seen at the place; the tensor's own where there is none.</summary>
    private static CalibrationRange AverageRange(OdmlRun run, FakeQuantRequest request)
    {
        using var noGrad = no_grad();
        using var ofBatch = Calibrator.Calibrate(request.Tensor, request.How);
        long[] ones = [.. request.Tensor.shape.Select(_ => 1L)];
        var seen = ofBatch.Select(t => t.mean().reshape(ones));
        run.State.Statistics.Reserve(request.Place, seen);
        if (request.Site.IsTraining && !run.State.IsLearning)
        {
            if (seen.Named.Any(n => !n.Value.isfinite().all().item<bool>()))
                throw new QwixException($"The values of \"{request.Place}\", which {request.Site} takes, are not finite: there is no range for them. Mask by masked_fill or where with a boolean mask, and train with a smaller learning rate.");
            // A fixed range would gather rounding errors by being added up.
            if (request.How.Calibration.Kind == CalibrationKind.Fixed)
                run.State.Statistics.Replace(request.Place, seen);
            else
                run.State.Statistics.Update(request.Place, seen);
        }

        return run.State.Statistics.WasSeen(request.Place) ? run.State.Statistics.GetRange(request.Place, seen) : seen;
    }

    private void CheckOpNames()
    {
        var known = OdmlOpTable.Ops.Keys.Concat(_ops.Keys).Concat(OpNames.All).Append(OdmlOpTable.FinalOutput).ToHashSet();
        foreach (var rule in Rules)
            RuleValidation.Check(rule, known);
    }
}
