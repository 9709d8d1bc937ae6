using QwixSharp.Arrays;
using QwixSharp.Interception;
using QwixSharp.Numerics;
using QwixSharp.Providers.Models;
using QwixSharp.Providers.Odml.Device;
using QwixSharp.Providers.OpMap;
using QwixSharp.Rules;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Odml;

/// <summary>
/// One forward pass of an on-device model: sees every op, tags what it returns, and fake-quantizes operands as the tags
/// and rules say. Owns the fake-quantized tensors.
/// </summary>
internal sealed class OdmlRun(OdmlQatProvider provider, ModelState state) : IModelRun
{
    private readonly Dictionary<(string Path, string Op), int> _counts = [];
    private readonly List<Tensor> _owned = [];
    private readonly IForwardTracer? _tracer = ForwardTracer.Current;

    internal OdmlQatProvider Provider => provider;

    internal ModelState State => state;

    /// <summary>Whether a tracer runs the ops.</summary>
    internal bool IsTraced => _tracer is not null;

    /// <summary>Whether values are computed as the device's kernels do.</summary>
    internal bool RoundsAsDevice => provider.RoundsAsDevice && !IsTraced;

    internal TensorTags Tags { get; } = new();

    /// <summary>The fake-quants of this pass so far, in program order, where the provider makes static ones.</summary>
    internal List<FakeQuantAnnotation> Annotations { get; } = [];

    public bool Wants(OpDescriptor op) => true;

    public void Begin(string method, IReadOnlyList<object?> inputs)
    {
        if (state.IsLearning && state.Model.parameters().Any(p => p.device_type == DeviceType.META))
            throw new QwixException($"{state.Model.GetType().Name} is on the meta device; {provider.GetType().Name} needs the values of its parameters. Load them first.");
        foreach (var input in inputs.SelectMany(TensorTree.Leaves))
            Tags[input] = new TensorTag { IsActivation = true, Range = provider.FixedRangeForInputs };
    }

    public object? Intercept(in OpCall call) => Handle(call, OpNaming.Of(call.Op));

    public TResult End<TResult>(string method, TResult result)
    {
        var final = (TResult)TensorTree.Map(result, t => Finish(t, method == "forward" ? "final" : method))!;
        provider.OnEnd(this);
        return final;
    }

    public void Dispose()
    {
        foreach (var tensor in _owned)
            tensor.Dispose();
    }

    /// <summary>Calls another op in place of one that the model calls, as if the model did.</summary>
    internal Tensor Call(OpDescriptor op, in OpCall origin, params object?[] arguments) =>
        (Tensor)Handle(new OpCall(op, arguments, origin.Module, origin.ModulePath), OpNaming.Of(op))!;

    /// <summary>Runs an op on other arguments.</summary>
    internal object? Proceed(in OpCall call, object?[] arguments)
    {
        if (!OpNaming.IsInPlace(call) || ReferenceEquals(arguments[0], call.Arguments[0]))
            return Execute(call, call.Op, arguments);
        // The op writes over a copy of the fake-quantized values, and the model's tensor takes what comes out.
        var receiver = (Tensor)call.Arguments[0]!;
        using var work = (Tensor)Execute(call, TorchOps.Clone, [arguments[0]])!;
        var written = Execute(call, call.Op, [work, .. arguments[1..]]);
        Execute(call, TorchOps.Copy, [receiver, work, false]);
        if (written is not Tensor alias || ReferenceEquals(alias, work))
            return written is null ? null : receiver;
        alias.Dispose();
        return Execute(call, TorchOps.Alias, [receiver]);
    }

    /// <summary>Runs an op in the place of a call.</summary>
    internal object? Execute(in OpCall origin, OpDescriptor op, object?[] arguments)
    {
        var call = new OpCall(op, arguments, origin.Module, origin.ModulePath);
        return _tracer is not null && _tracer.Wants(op) ? _tracer.Intercept(call) : call.Proceed();
    }

    /// <summary>The place of an op, which counts it, and its rule.</summary>
    internal OdmlSite NextSite(in OpCall call, string opName)
    {
        int count;
        lock (_counts)
        {
            count = _counts.GetValueOrDefault((call.ModulePath, opName));
            _counts[(call.ModulePath, opName)] = count + 1;
        }

        var rule = provider.Match(call.ModulePath, opName);
        if (rule is not null)
            state.MarkMatched(provider);
        return new OdmlSite(rule, call.ModulePath, opName, opName + count, call.Module.training);
    }

    internal bool IsActivation(object? argument) => argument is Tensor tensor && Tags[tensor] is { IsActivation: true };

    internal bool AnyActivation(object?[] arguments) => arguments.SelectMany(TensorTree.Leaves).Any(t => IsActivation(t));

    /// <summary>Tags the tensors of a result as outputs of an op.</summary>
    /// <param name="result">The result.</param>
    /// <param name="rule">The rule by which the next op shall quantize it, if that is a static one.</param>
    /// <param name="tag">What else is known.</param>
    internal void Tag(object? result, QuantizationRule? rule, TensorTag? tag = null)
    {
        tag = (tag ?? new()) with { IsActivation = true };
        if (rule is { ActQType: not null, ActStaticScale: true })
            tag = tag with { Pending = rule };
        foreach (var output in TensorTree.Leaves(result))
            Tags[output] = tag;
    }

    /// <summary>An operand as an op with a rule takes it: fake-quantized, unless it is so already or nothing asks for it.</summary>
    /// <param name="tensor">An activation, a constant or a weight.</param>
    /// <param name="rule">The rule of the op; that of the op which made the tensor goes before it.</param>
    /// <param name="site">The op.</param>
    /// <param name="operand">Which of its operands; empty where it has one.</param>
    internal Tensor Quantize(Tensor tensor, QuantizationRule? rule, OdmlSite site, string operand = "")
    {
        if (!Codec.IsQuantizable(tensor.dtype))
            return tensor;
        if (state.UseOf(tensor) is { } use)
            return rule?.WeightQType is { } weightQType ? Coded(FakeQuant(tensor, new() { QType = weightQType, Calibration = rule.ActCalibrationMethod! }, site, operand, hasStats: false, use)) : tensor;
        var tag = Tags[tensor];
        if (rule?.ActQType is null || (tag?.Pending ?? rule) is not { ActQType: { } qtype } effective || tag is { IsQuantized: true })
            return tensor;
        var known = Tags.FormOf(tensor);
        if (known is not null && known.Rule == effective)
            return known.Value;
        if (effective.ActStaticScale != true)
            return tensor; // dynamic ranges are for activations that meet a weight, and those products quantize themselves
        var how = new HowToQuantize
        {
            QType = qtype,
            ChannelwiseAxes = BatchAxes(effective, (int)tensor.dim()),
            Calibration = tag?.Range is { } range ? CalibrationMethod.Fixed(range.Min, range.Max) : effective.ActCalibrationMethod!,
        };
        var (quantized, codes) = FakeQuant(tensor, how, site, operand, hasStats: true, weight: null);
        Tags[quantized] = new TensorTag { IsActivation = true, IsConstant = tag is null, Pending = effective, Codes = codes };
        if (known is null)
            Tags.SetForm(tensor, quantized, effective);
        return quantized;
    }

    /// <summary>Fake-quantizes a tensor in a way of an op's own, without statistics; the result belongs to this run.</summary>
    internal Tensor Quantize(Tensor tensor, HowToQuantize how, OdmlSite site, string operand, WeightUse? weight, DynamicProduct? dynamic = null) =>
        Coded(FakeQuant(tensor, how, site, operand, hasStats: false, weight, dynamic));

    private object? Handle(in OpCall call, string name)
    {
        if (WeightViews.Find(state, call) is { } view)
        {
            var seen = Proceed(call, call.Arguments);
            WeightViews.Remember(state, call, view, seen);
            return seen;
        }

        var op = provider.Find(name);
        if (op is not { SeesConstants: true } && !AnyActivation(call.Arguments))
            return Proceed(call, call.Arguments);
        if (op is null)
        {
            if (provider.Strict)
                throw new QwixException($"{provider.GetType().Name} does not know the op {call.Op.Name} (\"{name}\") in module \"{call.ModulePath}\", so that it cannot say which of its tensors have ranges. Write it with ops that the provider knows, give its kind with ops: new Dictionary<string, OdmlOp> {{ [\"{name}\"] = OdmlOp.FloatingPoint }}, or pass strict: false to compute it in floating point.");
            op = OdmlOp.FloatingPoint;
        }

        var before = OpNaming.IsInPlace(call) && call.Arguments[0] is Tensor receiver ? receiver : null;
        var memory = before is null ? null : Tags[before]?.Memory;
        var result = op.Handler(this, call, op, name);
        if (before is not null)
            Rewritten(before, result, memory ?? new());
        return result;
    }

    /// <summary>After an op in place the receiver is what the op gave, and what was known of its old values is void.</summary>
    private void Rewritten(Tensor receiver, object? result, TensorMemoryVersion memory)
    {
        memory.Writes++;
        var tag = (result is Tensor output ? Tags[output] : null) ?? new TensorTag { IsActivation = true };
        tag = tag with { Memory = memory };
        Tags[receiver] = tag;
        if (result is Tensor same)
            Tags[same] = tag;
    }

    private Tensor Finish(Tensor result, string name)
    {
        var tag = Tags[result];
        if (provider.Strict && tag is not { IsActivation: true } && state.UseOf(result) is null)
            throw new QwixException($"A result of {state.Model.GetType().Name} does not come from its inputs through ops that {provider.GetType().Name} sees. {OdmlQatProvider.NotSeen}");
        var root = new OpCall(TorchOps.Alias, [result], state.Model, "");
        var site = NextSite(root, name + "_output");
        if (provider.FixedRangeForOutputs is { } range)
            Tags[result] = tag = (tag ?? new()) with { Range = range };
        var quantized = Quantize(result, tag?.Pending, site);
        return ReferenceEquals(quantized, result) ? result : (Tensor)Execute(root, TorchOps.Alias, [quantized])!;
    }

    private Tensor Coded((Tensor Value, FakeQuantAnnotation? Codes) quantized)
    {
        if (quantized.Codes is not null)
            Tags[quantized.Value] = new TensorTag { Codes = quantized.Codes };
        return quantized.Value;
    }

    private (Tensor Value, FakeQuantAnnotation? Codes) FakeQuant(Tensor tensor, HowToQuantize how, OdmlSite site, string operand, bool hasStats, WeightUse? weight, DynamicProduct? dynamic = null)
    {
        var request = new FakeQuantRequest(tensor, how, site, operand, hasStats, weight) { Tag = weight is null ? Tags[tensor] : null, Dynamic = dynamic };
        var (annotation, compute) = provider.FakeQuant(this, request);
        if (annotation is null)
            return (Own(compute()), null);
        lock (Annotations)
            Annotations.Add(annotation);
        var codes = RoundsAsDevice ? DeviceCodes.Of(annotation, request.Tag is { HasFixedScale16: true }) : annotation;
        return (Own(_tracer is null ? compute() : _tracer.FakeQuant(tensor, annotation, compute)), codes);
    }

    /// <summary>Keeps a tensor as long as the run.</summary>
    internal Tensor Own(Tensor tensor)
    {
        tensor.DetachFromDisposeScope();
        lock (_owned)
            _owned.Add(tensor);
        return tensor;
    }

    private static int[] BatchAxes(QuantizationRule rule, int rank) =>
        [.. rule.ActBatchAxes.Select(a => a < 0 ? a + rank : a).Where(a => a >= 0 && a < rank).Distinct()];
}
