using System.Text.RegularExpressions;
using QwixSharp.Providers.Models;
using QwixSharp.Rules;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Lora;

/// <summary>
/// The adapters of one model by name. The first, made of the rules, is called <c>default</c> and active; an adapter that
/// is not active has no effect and does not train.
/// </summary>
/// <remarks>
/// Parameters of adapters are named after the weight: <c>path.weight_lora_a</c> and <c>path.weight_lora_b</c>, with the
/// adapter's name behind where it is not <c>default</c>: <c>path.weight_lora_a_german</c>.
/// </remarks>
public sealed partial class LoraAdapters
{
    /// <summary>The name of the adapter that <c>Qwix.ApplyLora</c> makes.</summary>
    public const string Default = "default";

    private readonly ModelState _state;
    private readonly Lock _gate = new();
    private readonly SortedDictionary<string, LoraTarget> _targets = new(StringComparer.Ordinal);
    private readonly SortedDictionary<string, LoraAdapter> _adapters = new(StringComparer.Ordinal);
    private volatile LoraAdapter? _active;

    internal LoraAdapters(ModelState state)
    {
        _state = state;
        _active = _adapters[Default] = new LoraAdapter(Default, FollowsRules: true);
    }

    /// <summary>Tells the model that it has other parameters now.</summary>
    internal event Action? Changed;

    /// <summary>The names of the adapters.</summary>
    public IReadOnlyList<string> Names
    {
        get
        {
            lock (_gate)
                return [.. _adapters.Keys];
        }
    }

    /// <summary>The name of the adapter in effect; null where adapters are disabled.</summary>
    public string? Active => _active?.Name;

    /// <summary>What an adapter adds to each weight, by the path of its parameter.</summary>
    /// <param name="name">The adapter's name.</param>
    /// <exception cref="QwixException">There is no such adapter.</exception>
    public IReadOnlyDictionary<string, LoraWeights> this[string name]
    {
        get
        {
            lock (_gate)
                return new Dictionary<string, LoraWeights>(Find(name).Weights);
        }
    }

    /// <summary>Adds a new adapter as the model's rules say. It is not active until <see cref="Set"/>.</summary>
    /// <param name="name">Letters, digits, <c>-</c> and <c>_</c>.</param>
    /// <exception cref="QwixException">The name is taken or has other characters.</exception>
    public void Add(string name)
    {
        lock (_gate)
        {
            CheckNew(name);
            var adapter = new LoraAdapter(name, FollowsRules: true);
            foreach (var (path, target) in _targets)
                adapter.Weights[path] = Inactive(target.NewWeights());
            _adapters[name] = adapter;
        }

        Changed?.Invoke();
    }

    /// <summary>Makes an adapter the active one: it has effect and trains, all others do not.</summary>
    /// <param name="name">The adapter's name.</param>
    /// <exception cref="QwixException">There is no such adapter.</exception>
    public void Set(string name)
    {
        lock (_gate)
            Activate(Find(name));
    }

    /// <summary>Puts no adapter into effect: the model is its frozen base, until <see cref="Set"/>.</summary>
    public void Disable()
    {
        lock (_gate)
            Activate(null);
    }

    /// <summary>Deletes an adapter and frees its weights. If it was active, none is.</summary>
    /// <param name="name">The adapter's name.</param>
    /// <exception cref="QwixException">There is no such adapter.</exception>
    public void Delete(string name)
    {
        LoraAdapter adapter;
        lock (_gate)
        {
            adapter = Find(name);
            _adapters.Remove(name);
            if (_active == adapter)
                _active = null;
        }

        Changed?.Invoke();
        adapter.Dispose();
    }

    /// <summary>
    /// The plain model's state dict with an adapter merged into the weights, in floating point: load it into a model of
    /// the same class, or quantize it anew with <c>Qwix.QuantizeParams</c>. The model itself keeps its base and adapters.
    /// </summary>
    /// <param name="name">The adapter; the active one unless told.</param>
    /// <returns>Tensors that the caller owns. Base weights that are quantized are dequantized first.</returns>
    /// <exception cref="QwixException">There is no such adapter, or a weight has no place for what the adapter adds; the message names it.</exception>
    public Dictionary<string, Tensor> Merge(string? name = null)
    {
        lock (_gate)
        {
            var adapter = name is not null ? Find(name)
                : _active ?? throw new QwixException($"No adapter is active: name the one to merge. There are: {string.Join(", ", _adapters.Keys)}.");
            return LoraMerge.Merge(_state, adapter, _targets);
        }
    }

    internal IReadOnlyDictionary<string, LoraTarget> Targets
    {
        get
        {
            lock (_gate)
                return new Dictionary<string, LoraTarget>(_targets);
        }
    }

    /// <summary>What the active adapter adds to a weight at an op; null where it adds nothing. Seen for the first time, the weight gets adapters.</summary>
    /// <exception cref="QwixException">The rank does not fit the weight, or two ops use it in different ways.</exception>
    internal LoraWeights? At(OpSite site, ModelOperand weight, LoraForm form)
    {
        var use = weight.Weight!;
        bool added = false;
        LoraWeights? result;
        lock (_gate)
        {
            if (!_targets.TryGetValue(use.ArrayName, out var target))
            {
                _targets[use.ArrayName] = target = LoraTarget.Create(site, use, form, weight.Value);
                foreach (var adapter in _adapters.Values.Where(a => a.FollowsRules))
                    adapter.Weights[use.ArrayName] = Ready(target.NewWeights(), adapter == _active);
                added = true;
            }
            else if (!target.Form.Fits(form))
            {
                throw new QwixException($"Parameter \"{use.ArrayName}\" has an adapter for {target.Place}, but {site} uses it in another way. Put a plain QuantizationRule in front for one of them. Rule: {site.Rule}");
            }

            result = _active?.Weights.GetValueOrDefault(use.ArrayName);
        }

        if (added)
            Changed?.Invoke();
        return result;
    }

    /// <summary>Adds an adapter with weights that were read; see <see cref="Add"/>. One of the same name is replaced.</summary>
    internal void Put(string name, SortedDictionary<string, LoraWeights> weights)
    {
        LoraAdapter? replaced;
        lock (_gate)
        {
            if (!_adapters.TryGetValue(name, out replaced))
                CheckNew(name);
            var adapter = new LoraAdapter(name, FollowsRules: false);
            bool active = replaced is not null && replaced == _active;
            foreach (var (path, pair) in weights)
                adapter.Weights[path] = Ready(pair, active);
            _adapters[name] = adapter;
            if (active)
                _active = adapter;
        }

        Changed?.Invoke();
        replaced?.Dispose();
    }

    /// <summary>The parameters of all adapters for the weights whose paths a module has, by their names in it.</summary>
    internal IEnumerable<(string Name, Parameter Parameter)> ParametersOf(string modulePath, Func<string, bool> isOwn)
    {
        int prefix = modulePath.Length == 0 ? 0 : modulePath.Length + 1;
        lock (_gate)
        {
            List<(string, Parameter)> result = [];
            foreach (var (path, target) in _targets.Where(t => isOwn(t.Value.Use.Name)))
            {
                foreach (var adapter in _adapters.Values.Where(a => a.Weights.ContainsKey(path)))
                {
                    string suffix = adapter.Name == Default ? "" : "_" + adapter.Name;
                    result.Add(($"{path[prefix..]}_lora_a{suffix}", adapter.Weights[path].A));
                    result.Add(($"{path[prefix..]}_lora_b{suffix}", adapter.Weights[path].B));
                }
            }

            return result;
        }
    }

    internal void Move(Device? device, ScalarType? dtype)
    {
        lock (_gate)
        {
            foreach (var weights in _adapters.Values.SelectMany(a => a.Weights.Values))
                weights.Move(device, dtype);
            foreach (var (path, target) in _targets.ToList())
                _targets[path] = target with { Device = device ?? target.Device, Dtype = dtype ?? target.Dtype };
        }
    }

    internal void Dispose()
    {
        foreach (var adapter in _adapters.Values)
            adapter.Dispose();
    }

    private void Activate(LoraAdapter? adapter)
    {
        foreach (var (weights, active) in _adapters.Values.SelectMany(a => a.Weights.Values.Select(w => (w, a == adapter))))
            weights.Train(active);
        _active = adapter;
    }

    private LoraAdapter Find(string name) => _adapters.TryGetValue(name, out var adapter)
        ? adapter
        : throw new QwixException($"There is no adapter \"{name}\". There are: {(_adapters.Count == 0 ? "none" : string.Join(", ", _adapters.Keys))}.");

    private void CheckNew(string name)
    {
        if (!AdapterName().IsMatch(name))
            throw new QwixException($"An adapter cannot be called \"{name}\": its name becomes part of parameter names, so use letters, digits, - and _.");
        if (_adapters.ContainsKey(name))
            throw new QwixException($"There is an adapter \"{name}\" already. Delete it first, or take another name.");
    }

    private static LoraWeights Inactive(LoraWeights weights) => Ready(weights, active: false);

    private static LoraWeights Ready(LoraWeights weights, bool active)
    {
        weights.Train(active);
        return weights;
    }

    [GeneratedRegex("^[A-Za-z0-9_-]+$")]
    private static partial Regex AdapterName();
}

/// <summary>An adapter: what it adds to each weight.</summary>
/// <param name="Name">Its name.</param>
/// <param name="FollowsRules">Whether it has weights for all that the rules match; one that was read has what its file has.</param>
internal sealed record LoraAdapter(string Name, bool FollowsRules)
{
    internal SortedDictionary<string, LoraWeights> Weights { get; } = new(StringComparer.Ordinal);

    internal void Dispose()
    {
        foreach (var weights in Weights.Values)
            weights.Dispose();
    }
}

/// <summary>A weight that adapters add to.</summary>
/// <param name="Use">Which parameter, and how the op sees it.</param>
/// <param name="Form">How the product goes through a low rank.</param>
/// <param name="Rule">The rule it falls under.</param>
/// <param name="Place">The op and module, for messages.</param>
/// <param name="Dtype">The dtype of its adapters.</param>
/// <param name="Device">Their device.</param>
internal sealed record LoraTarget(WeightUse Use, LoraForm Form, LoraRule Rule, string Place, ScalarType Dtype, Device Device)
{
    internal static LoraTarget Create(OpSite site, WeightUse use, LoraForm form, Tensor weight)
    {
        var target = new LoraTarget(use, form, (LoraRule)site.Rule, site.ToString(), weight.dtype, weight.device);
        target.CheckRank(target.Rule.Rank, weight.shape, $"Set a Rank of at most {form.LargestRank} by a rule in front. Rule: {site.Rule}");
        return target;
    }

    /// <exception cref="QwixException">The rank does not fit the weight.</exception>
    internal void CheckRank(int rank, long[] shape, string remedy)
    {
        var fault = rank > Form.LargestRank ? $"its own rank is at most {Form.LargestRank}" : Form.FaultOf(rank);
        if (fault is not null)
            throw new QwixException($"Parameter \"{Use.ArrayName}\" of shape [{string.Join(", ", shape)}] cannot have an adapter of rank {rank} for {Place}: {fault}. {remedy}");
    }

    internal LoraWeights NewWeights() => LoraWeights.Create(Rule, Form, Dtype, Device);
}
