using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using QwixSharp.Arrays;
using QwixSharp.Calibration;
using QwixSharp.Interception;
using QwixSharp.Ops;
using QwixSharp.Providers.Fusion;
using QwixSharp.Providers.Lora;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Models;

/// <summary>
/// All that a quantized model holds beside the user's module: its quantized weights and static scales, and what was
/// learnt about how the module uses its parameters.
/// </summary>
internal sealed class ModelState : IDisposable
{
    private readonly ConditionalWeakTable<Tensor, WeightUse> _views = [];
    private readonly HashSet<string> _usedElsewhere = new(StringComparer.Ordinal);
    private readonly HashSet<ModelProvider> _matched = [];
    private readonly HashSet<string> _released = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<WeightUse, (string ModulePath, PackedLinear Layer)> _linears = new(ReferenceEqualityComparer.Instance);
    private readonly ConcurrentDictionary<WeightUse, (string ModulePath, RememberedConvolution Convolution)> _convolutions = new(ReferenceEqualityComparer.Instance);
    private readonly ConcurrentDictionary<nn.Module, (Tensor Weight, PackedLinear Layer)> _lastLinears = new(ReferenceEqualityComparer.Instance);
    private Dictionary<Tensor, WeightUse> _parameters = [];
    private Dictionary<nint, WeightUse> _byAddress = [];
    private Dictionary<string, Tensor> _frozen = [];
    private volatile bool[] _viewOps = [];

    internal ModelState(nn.Module model, IReadOnlyList<ModelProvider> providers)
    {
        Model = model;
        Providers = providers;
        Adapters = providers.Any(p => p.FreezesParameters) ? new LoraAdapters(this) : null;
        Weights = new WeightTable(IsReleased);
        Fusion = new ModelFusion(this);
        Index();
    }

    /// <summary>The user's module.</summary>
    internal nn.Module Model { get; }

    /// <summary>The providers; for each op the first that handles it wins.</summary>
    internal IReadOnlyList<ModelProvider> Providers { get; }

    internal WeightTable Weights { get; }

    /// <summary>The names of the model's modules, which parameters are known by as well.</summary>
    internal ModulePaths Paths { get; private set; } = null!;

    /// <summary>Decides whether ops of the model are deferred and computed together.</summary>
    internal ModelFusion Fusion { get; }

    internal StaticScales StaticScales { get; } = new();

    /// <summary>The statistics of activations that training gathered.</summary>
    internal QuantStats Statistics { get; } = new();

    /// <summary>The adapters of a model whose own parameters are frozen; else null.</summary>
    internal LoraAdapters? Adapters { get; }

    /// <summary>Whether the model trains, so that its statistics are part of its state.</summary>
    internal bool IsForTraining => Providers.Any(p => p.IsForTraining);

    /// <summary>Whether this is the first run, which shows what there is and must change nothing.</summary>
    internal bool IsLearning { get; private set; } = true;

    /// <summary>
    /// Whether every op is looked at: while the use of parameters is learnt, where these are frozen, and once values were
    /// given up.
    /// </summary>
    internal bool SeesEveryOp { get; private set; } = true;

    /// <summary>Ends the first run, in which the use of parameters is learnt.</summary>
    internal void EndLearning() => (IsLearning, SeesEveryOp) = (false, _released.Count > 0 || Adapters is not null);

    /// <summary>Whether any rule of a provider has matched an op of this model.</summary>
    internal bool HasMatched(ModelProvider provider)
    {
        lock (_matched)
            return _matched.Contains(provider);
    }

    internal void MarkMatched(ModelProvider provider)
    {
        if (!SeesEveryOp)
            return; // known since the first run
        lock (_matched)
            _matched.Add(provider);
    }

    internal bool WantsView(OpDescriptor op) => op.Id < _viewOps.Length && _viewOps[op.Id];

    /// <summary>How a tensor relates to a parameter; null for an activation.</summary>
    internal WeightUse? UseOf(Tensor? tensor)
    {
        if (tensor is null)
            return null;
        if (_parameters.TryGetValue(tensor, out var use) || _views.TryGetValue(tensor, out use))
            return use;
        // Some modules make a new object for a parameter at every access of its property.
        return tensor is Parameter && _byAddress.TryGetValue(TensorMemory.Address(tensor), out use) && use.Parameter.shape.SequenceEqual(tensor.shape) ? use : null;
    }

    /// <summary>The name of a parameter of the module: where several modules share it, the first of its paths.</summary>
    internal string NameOf(Tensor parameter, string path) => UseOf(parameter)?.Name ?? path;

    /// <summary>A parameter of a frozen model as a tensor that no gradient flows to; any other tensor as it is.</summary>
    internal Tensor Frozen(Tensor tensor) =>
        tensor is Parameter && UseOf(tensor) is { } use && _frozen.TryGetValue(use.Name, out var frozen) ? frozen : tensor;

    /// <summary>Whether a tensor is a parameter itself, not a view of one.</summary>
    internal bool IsParameter(Tensor tensor, WeightUse use) => ReferenceEquals(tensor, use.Parameter) || ReferenceEquals(tensor, _frozen.GetValueOrDefault(use.Name));

    internal ModelOperand Operand(Tensor tensor) => new(tensor, UseOf(tensor));

    /// <summary>Remembers how a module's linear layer is computed, so that later calls need not find it out again; adapters add to it at each call.</summary>
    internal void Remember(WeightUse weight, string modulePath, PackedLinear layer)
    {
        if (Adapters is null)
            _linears.TryAdd(weight, (modulePath, layer));
    }

    /// <summary>What is remembered of a module's linear layer, or null.</summary>
    internal PackedLinear? Remembered(Tensor weight, string modulePath) =>
        UseOf(weight) is { } use && _linears.TryGetValue(use, out var known) && known.ModulePath == modulePath ? known.Layer : null;

    /// <summary>What is remembered of the linear layer of the module that runs, or null. Most modules have one, which is found at once.</summary>
    internal PackedLinear? Remembered(Tensor weight, InterceptionScope scope)
    {
        if (_lastLinears.TryGetValue(scope.Module, out var last) && ReferenceEquals(last.Weight, weight))
            return last.Layer;
        var layer = Remembered(weight, scope.Path);
        // The path of any other module depends on who calls it.
        if (layer is not null && Paths.Of(scope.Module) is not null)
            _lastLinears[scope.Module] = (weight, layer);
        return layer;
    }

    /// <summary>Remembers how a module's convolution is computed whose input has a static scale.</summary>
    internal void Remember(WeightUse weight, string modulePath, RememberedConvolution convolution)
    {
        if (Adapters is null)
            _convolutions.TryAdd(weight, (modulePath, convolution));
    }

    /// <summary>What is remembered of a module's convolution, or null.</summary>
    internal RememberedConvolution? RememberedConvolution(Tensor weight, string modulePath) =>
        UseOf(weight) is { } use && _convolutions.TryGetValue(use, out var known) && known.ModulePath == modulePath ? known.Convolution : null;

    /// <summary>Remembers that a tensor is a view of a parameter, made by an op.</summary>
    internal void AddView(Tensor view, WeightUse use, OpDescriptor op)
    {
        _views.AddOrUpdate(view, use);
        if (WantsView(op))
            return;
        lock (_views)
        {
            var table = new bool[Math.Max(_viewOps.Length, op.Id + 1)];
            _viewOps.CopyTo(table, 0);
            table[op.Id] = true;
            _viewOps = table;
        }
    }

    /// <summary>Notes that an op which is not quantized needs a parameter's values.</summary>
    internal void MarkUsedElsewhere(WeightUse use)
    {
        lock (_usedElsewhere)
            _usedElsewhere.Add(use.Name);
    }

    /// <summary>Whether only quantized ops use a parameter.</summary>
    internal bool IsReplaced(string name) => !_usedElsewhere.Contains(name) && Weights.All.Any(w => w.Value.Use.Name == name);

    /// <summary>Takes over what another state of the same module knows and holds.</summary>
    internal void CopyFrom(ModelState other)
    {
        Weights.CopyFrom(other.Weights);
        StaticScales.CopyFrom(other.StaticScales);
        Statistics.CopyFrom(other.Statistics);
        _released.UnionWith(other._released);
        lock (other._usedElsewhere)
            _usedElsewhere.UnionWith(other._usedElsewhere);
    }

    /// <summary>
    /// Follows tensors that had no memory and were given some: quantized parameters themselves never get any, so their
    /// values count as given up.
    /// </summary>
    internal void Relocate()
    {
        Weights.Relocate();
        Index();
        _released.UnionWith(_parameters.Values.Where(u => u.Parameter.device_type == DeviceType.META && IsReplaced(u.Name)).Select(u => u.Name));
        EndLearning();
    }

    /// <summary>Whether the values of any parameter were given up.</summary>
    internal bool HasReleased => _released.Count > 0;

    internal bool IsReleased(WeightUse use) => IsReleased(use.Name);

    internal bool IsReleased(string name) => _released.Count > 0 && _released.Contains(name);

    /// <summary>
    /// Gives up the floating-point values of all parameters that only quantized ops use: each keeps its shape and dtype,
    /// but one number, not a number, stands for all of its values.
    /// </summary>
    internal void Release()
    {
        foreach (var use in _parameters.Values.Where(u => u.Parameter.device_type != DeviceType.META && IsReplaced(u.Name)))
        {
            GiveUp(use.Parameter);
            _released.Add(use.Name);
        }

        EndLearning();
        Index();
    }

    /// <summary>The values of a released parameter, from its quantized form; the caller owns them.</summary>
    /// <exception cref="QwixException">Only views of the parameter are quantized.</exception>
    internal Tensor Restore(WeightUse use)
    {
        var whole = WholeArray(use.Name)
            ?? throw new QwixException($"The values of parameter \"{use.Name}\" were given up, and an op that is not quantized now needs them. Do not call ReleaseOriginalWeights on this model.");
        return whole.Dequantize();
    }

    /// <summary>The quantized form of a whole parameter; null where it has none.</summary>
    internal QArray? WholeArray(string name) => Weights.All.Select(w => w.Value).FirstOrDefault(w => w.Use.ArrayName == name)?.Array;

    /// <summary>Follows the module to another device or dtype, which gives it new parameters.</summary>
    internal void Move(Device? device, ScalarType? dtype)
    {
        Index();
        foreach (var use in _parameters.Values.Where(u => IsReleased(u) && u.Parameter.device_type != DeviceType.META))
            GiveUp(use.Parameter);
        Index();
        Weights.Move(device, dtype);
        StaticScales.Move(device);
        if (device is not null)
            Statistics.Move(device);
        Adapters?.Move(device, dtype);
    }

    public void Dispose()
    {
        Weights.Dispose();
        StaticScales.Dispose();
        Statistics.Dispose();
        Adapters?.Dispose();
        Thaw();
    }

    private static void GiveUp(Tensor parameter)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        parameter.set_(full([1], float.NaN, dtype: parameter.dtype, device: parameter.device).expand(parameter.shape));
    }

    private void Index()
    {
        var parameters = new Dictionary<Tensor, WeightUse>(ReferenceEqualityComparer.Instance);
        var byAddress = new Dictionary<nint, WeightUse>();
        foreach (var (name, parameter) in Model.named_parameters())
        {
            if (!parameters.TryAdd(parameter, new WeightUse(name, parameter, "", null, null)))
                continue;
            if (TensorMemory.Address(parameter) is var address && address != 0)
                byAddress.TryAdd(address, parameters[parameter]);
        }

        Thaw();
        if (Adapters is not null)
            _frozen = Freeze(parameters);
        (_parameters, _byAddress) = (parameters, byAddress);
        Paths = new ModulePaths(Model);
        _linears.Clear();
        _lastLinears.Clear();
        _convolutions.Clear();
    }

    /// <summary>An alias of each parameter that no gradient flows to, which counts as the parameter.</summary>
    private static Dictionary<string, Tensor> Freeze(Dictionary<Tensor, WeightUse> parameters)
    {
        var frozen = new Dictionary<string, Tensor>(StringComparer.Ordinal);
        foreach (var (parameter, use) in parameters.ToList())
        {
            var alias = parameter.detach().DetachFromDisposeScope();
            frozen[use.Name] = alias;
            parameters[alias] = use;
        }

        return frozen;
    }

    private void Thaw()
    {
        foreach (var alias in _frozen.Values)
            alias.Dispose();
        _frozen = [];
    }
}
