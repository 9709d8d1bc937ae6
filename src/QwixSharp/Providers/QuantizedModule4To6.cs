using QwixSharp.Arrays;
using QwixSharp.Calibration;
using QwixSharp.Interception;
using QwixSharp.Providers.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Providers;

/// <summary>A quantized model of four inputs; see <see cref="IQuantizedModel"/>.</summary>
/// <typeparam name="T1">The type of input 1.</typeparam>
/// <typeparam name="T2">The type of input 2.</typeparam>
/// <typeparam name="T3">The type of input 3.</typeparam>
/// <typeparam name="T4">The type of input 4.</typeparam>
/// <typeparam name="TResult">The type of the result.</typeparam>
public class QuantizedModule<T1, T2, T3, T4, TResult> : nn.Module<T1, T2, T3, T4, TResult>, IQuantizedModel, IHasCore
{
    private static readonly Func<object, T1, T2, T3, T4, TResult> Copy =
        Interceptor.Rewrite<Func<object, T1, T2, T3, T4, TResult>>(typeof(nn.Module<T1, T2, T3, T4, TResult>).GetMethod(nameof(call))!);

    internal QuantizedModule(ModelState state) : base(state.Model.GetName()) => Core = new QuantizedCore(state, this, Clear);

    /// <inheritdoc/>
    public nn.Module Original => Core.State.Model;

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, QArray> Weights => Core.Weights;

    /// <inheritdoc/>
    public QuantStats QuantStats => Core.State.Statistics;

    internal QuantizedCore Core { get; }

    QuantizedCore IHasCore.Core => Core;

    /// <inheritdoc/>
    public override TResult forward(T1 input1, T2 input2, T3 input3, T4 input4) => Core.Run(() => Copy(Original, input1, input2, input3, input4), [input1, input2, input3, input4]);

    /// <inheritdoc/>
    public void ReleaseOriginalWeights() => Core.ReleaseOriginalWeights();

    /// <inheritdoc/>
    public TValue Invoke<TValue>(string method, params object?[] arguments) => Core.Invoke<TValue>(method, arguments);

    /// <inheritdoc/>
    public override bool training => Original.training;

    /// <inheritdoc/>
    public override void train(bool train = true)
    {
        base.train(train);
        Original.train(train);
    }

    /// <inheritdoc/>
    public override IEnumerable<(string name, Tensor buffer)> named_buffers(bool recurse = true, bool include_nonpersistent = true) =>
        base.named_buffers(recurse, include_nonpersistent).Concat(Core.OwnBuffers());

    /// <inheritdoc/>
    public override (IList<string> missing_keys, IList<string> unexpected_keyes) load_state_dict(Dictionary<string, Tensor> source, bool strict = true, IList<string>? skip = null) =>
        Core.LoadStateDict(source, strict, skip);

    /// <inheritdoc/>
    public override nn.Module load(BinaryReader reader, bool strict = true, IList<string>? skip = null, Dictionary<string, bool>? loadedParameters = null)
    {
        base.load(reader, strict, skip, loadedParameters);
        Core.State.Weights.DropKernelForms();
        return this;
    }

    /// <inheritdoc/>
    protected override nn.Module _to(Device device, ScalarType dtype, bool non_blocking) => Core.Move(device, dtype, non_blocking);

    /// <inheritdoc/>
    protected override nn.Module _to(DeviceType deviceType, int deviceIndex, bool non_blocking) => Core.Move(new Device(deviceType, deviceIndex), null, non_blocking);

    /// <inheritdoc/>
    protected override nn.Module _to(ScalarType dtype, bool non_blocking) => Core.Move(null, dtype, non_blocking);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
            Core.Dispose();
        base.Dispose(disposing);
    }

    private void Clear()
    {
        _internal_params.clear();
        _internal_buffers.clear();
        _internal_submodules.clear();
    }
}

/// <summary>A quantized model of five inputs; see <see cref="IQuantizedModel"/>.</summary>
/// <typeparam name="T1">The type of input 1.</typeparam>
/// <typeparam name="T2">The type of input 2.</typeparam>
/// <typeparam name="T3">The type of input 3.</typeparam>
/// <typeparam name="T4">The type of input 4.</typeparam>
/// <typeparam name="T5">The type of input 5.</typeparam>
/// <typeparam name="TResult">The type of the result.</typeparam>
public class QuantizedModule<T1, T2, T3, T4, T5, TResult> : nn.Module<T1, T2, T3, T4, T5, TResult>, IQuantizedModel, IHasCore
{
    private static readonly Func<object, T1, T2, T3, T4, T5, TResult> Copy =
        Interceptor.Rewrite<Func<object, T1, T2, T3, T4, T5, TResult>>(typeof(nn.Module<T1, T2, T3, T4, T5, TResult>).GetMethod(nameof(call))!);

    internal QuantizedModule(ModelState state) : base(state.Model.GetName()) => Core = new QuantizedCore(state, this, Clear);

    /// <inheritdoc/>
    public nn.Module Original => Core.State.Model;

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, QArray> Weights => Core.Weights;

    /// <inheritdoc/>
    public QuantStats QuantStats => Core.State.Statistics;

    internal QuantizedCore Core { get; }

    QuantizedCore IHasCore.Core => Core;

    /// <inheritdoc/>
    public override TResult forward(T1 input1, T2 input2, T3 input3, T4 input4, T5 input5) => Core.Run(() => Copy(Original, input1, input2, input3, input4, input5), [input1, input2, input3, input4, input5]);

    /// <inheritdoc/>
    public void ReleaseOriginalWeights() => Core.ReleaseOriginalWeights();

    /// <inheritdoc/>
    public TValue Invoke<TValue>(string method, params object?[] arguments) => Core.Invoke<TValue>(method, arguments);

    /// <inheritdoc/>
    public override bool training => Original.training;

    /// <inheritdoc/>
    public override void train(bool train = true)
    {
        base.train(train);
        Original.train(train);
    }

    /// <inheritdoc/>
    public override IEnumerable<(string name, Tensor buffer)> named_buffers(bool recurse = true, bool include_nonpersistent = true) =>
        base.named_buffers(recurse, include_nonpersistent).Concat(Core.OwnBuffers());

    /// <inheritdoc/>
    public override (IList<string> missing_keys, IList<string> unexpected_keyes) load_state_dict(Dictionary<string, Tensor> source, bool strict = true, IList<string>? skip = null) =>
        Core.LoadStateDict(source, strict, skip);

    /// <inheritdoc/>
    public override nn.Module load(BinaryReader reader, bool strict = true, IList<string>? skip = null, Dictionary<string, bool>? loadedParameters = null)
    {
        base.load(reader, strict, skip, loadedParameters);
        Core.State.Weights.DropKernelForms();
        return this;
    }

    /// <inheritdoc/>
    protected override nn.Module _to(Device device, ScalarType dtype, bool non_blocking) => Core.Move(device, dtype, non_blocking);

    /// <inheritdoc/>
    protected override nn.Module _to(DeviceType deviceType, int deviceIndex, bool non_blocking) => Core.Move(new Device(deviceType, deviceIndex), null, non_blocking);

    /// <inheritdoc/>
    protected override nn.Module _to(ScalarType dtype, bool non_blocking) => Core.Move(null, dtype, non_blocking);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
            Core.Dispose();
        base.Dispose(disposing);
    }

    private void Clear()
    {
        _internal_params.clear();
        _internal_buffers.clear();
        _internal_submodules.clear();
    }
}

/// <summary>A quantized model of six inputs; see <see cref="IQuantizedModel"/>.</summary>
/// <typeparam name="T1">The type of input 1.</typeparam>
/// <typeparam name="T2">The type of input 2.</typeparam>
/// <typeparam name="T3">The type of input 3.</typeparam>
/// <typeparam name="T4">The type of input 4.</typeparam>
/// <typeparam name="T5">The type of input 5.</typeparam>
/// <typeparam name="T6">The type of input 6.</typeparam>
/// <typeparam name="TResult">The type of the result.</typeparam>
public class QuantizedModule<T1, T2, T3, T4, T5, T6, TResult> : nn.Module<T1, T2, T3, T4, T5, T6, TResult>, IQuantizedModel, IHasCore
{
    private static readonly Func<object, T1, T2, T3, T4, T5, T6, TResult> Copy =
        Interceptor.Rewrite<Func<object, T1, T2, T3, T4, T5, T6, TResult>>(typeof(nn.Module<T1, T2, T3, T4, T5, T6, TResult>).GetMethod(nameof(call))!);

    internal QuantizedModule(ModelState state) : base(state.Model.GetName()) => Core = new QuantizedCore(state, this, Clear);

    /// <inheritdoc/>
    public nn.Module Original => Core.State.Model;

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, QArray> Weights => Core.Weights;

    /// <inheritdoc/>
    public QuantStats QuantStats => Core.State.Statistics;

    internal QuantizedCore Core { get; }

    QuantizedCore IHasCore.Core => Core;

    /// <inheritdoc/>
    public override TResult forward(T1 input1, T2 input2, T3 input3, T4 input4, T5 input5, T6 input6) => Core.Run(() => Copy(Original, input1, input2, input3, input4, input5, input6), [input1, input2, input3, input4, input5, input6]);

    /// <inheritdoc/>
    public void ReleaseOriginalWeights() => Core.ReleaseOriginalWeights();

    /// <inheritdoc/>
    public TValue Invoke<TValue>(string method, params object?[] arguments) => Core.Invoke<TValue>(method, arguments);

    /// <inheritdoc/>
    public override bool training => Original.training;

    /// <inheritdoc/>
    public override void train(bool train = true)
    {
        base.train(train);
        Original.train(train);
    }

    /// <inheritdoc/>
    public override IEnumerable<(string name, Tensor buffer)> named_buffers(bool recurse = true, bool include_nonpersistent = true) =>
        base.named_buffers(recurse, include_nonpersistent).Concat(Core.OwnBuffers());

    /// <inheritdoc/>
    public override (IList<string> missing_keys, IList<string> unexpected_keyes) load_state_dict(Dictionary<string, Tensor> source, bool strict = true, IList<string>? skip = null) =>
        Core.LoadStateDict(source, strict, skip);

    /// <inheritdoc/>
    public override nn.Module load(BinaryReader reader, bool strict = true, IList<string>? skip = null, Dictionary<string, bool>? loadedParameters = null)
    {
        base.load(reader, strict, skip, loadedParameters);
        Core.State.Weights.DropKernelForms();
        return this;
    }

    /// <inheritdoc/>
    protected override nn.Module _to(Device device, ScalarType dtype, bool non_blocking) => Core.Move(device, dtype, non_blocking);

    /// <inheritdoc/>
    protected override nn.Module _to(DeviceType deviceType, int deviceIndex, bool non_blocking) => Core.Move(new Device(deviceType, deviceIndex), null, non_blocking);

    /// <inheritdoc/>
    protected override nn.Module _to(ScalarType dtype, bool non_blocking) => Core.Move(null, dtype, non_blocking);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
            Core.Dispose();
        base.Dispose(disposing);
    }

    private void Clear()
    {
        _internal_params.clear();
        _internal_buffers.clear();
        _internal_submodules.clear();
    }
}
