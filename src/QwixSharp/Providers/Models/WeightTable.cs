using System.Collections.Concurrent;
using QwixSharp.Arrays;
using QwixSharp.Ops;
using QwixSharp.Rules;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Models;

/// <summary>The quantized weights of a model, by name. Each is made at its first use. Safe for several threads.</summary>
/// <param name="isReleased">Whether the values of a parameter were given up, so that no array can be made of it any more.</param>
internal sealed class WeightTable(Func<WeightUse, bool> isReleased) : IDisposable
{
    private readonly ConcurrentDictionary<(string Name, QuantizationRule Rule, string Op, long Key), QuantizedWeight> _sites = new();
    private readonly SortedDictionary<string, QuantizedWeight> _weights = new(StringComparer.Ordinal);
    private readonly Lock _gate = new();

    internal event Action? Added;

    /// <summary>The weights by name: the parameter's path, with the view where it is used through one.</summary>
    internal IReadOnlyList<KeyValuePair<string, QuantizedWeight>> All
    {
        get
        {
            lock (_gate)
                return [.. _weights];
        }
    }

    /// <summary>The quantized form of a weight for a site.</summary>
    /// <exception cref="QwixException">The weight cannot be quantized so.</exception>
    internal QArray Get(OpSite site, ModelOperand operand, long key, Func<HowToQuantize> how)
    {
        var use = operand.Weight ?? throw new ArgumentException("The operand is not a weight.", nameof(operand));
        var siteKey = (use.ArrayName, site.Rule, site.OpName, key);
        if (_sites.TryGetValue(siteKey, out var weight))
            return weight.Array;
        lock (_gate)
        {
            if (_sites.TryGetValue(siteKey, out weight))
                return weight.Array;
            weight = FindOrMake(site, operand, use, how());
            _sites[siteKey] = weight;
        }

        Added?.Invoke();
        return weight.Array;
    }

    /// <summary>Moves the arrays to a device, and gives their scales a dtype.</summary>
    internal void Move(Device? device, ScalarType? dtype)
    {
        lock (_gate)
        {
            _sites.Clear();
            foreach (var (name, weight) in _weights.ToList())
            {
                using var onDevice = device is not null && weight.Array.Device.type != device.type ? weight.Array.To(device) : weight.Array.Alias();
                var moved = dtype is { } wanted && onDevice.Dtype != wanted ? onDevice.To(wanted) : onDevice.Alias();
                _weights[name] = weight with { Array = moved.DetachFromDisposeScope() };
                weight.Array.Dispose();
            }
        }
    }

    /// <summary>Takes over the weights of another model, in arrays of its own that share their memory.</summary>
    internal void CopyFrom(WeightTable other)
    {
        lock (_gate)
        {
            foreach (var (name, weight) in other.All)
                _weights[name] = weight with { Array = weight.Array.Alias().DetachFromDisposeScope() };
            foreach (var (site, weight) in other._sites)
                _sites[site] = _weights.Values.First(w => w.Signature == weight.Signature && w.Use.ArrayName == weight.Use.ArrayName);
        }
    }

    /// <summary>Looks at where the arrays are, after those without memory were given some.</summary>
    internal void Relocate()
    {
        foreach (var (_, weight) in All)
            weight.Array.Relocate();
    }

    /// <summary>Frees what the kernels have in forms of their own.</summary>
    internal void Compact()
    {
        foreach (var (_, weight) in All)
            weight.Array.Compact();
    }

    /// <summary>Makes the kernels read the arrays anew, after these were written to.</summary>
    internal void DropKernelForms()
    {
        foreach (var (_, weight) in All)
            weight.Array.DropKernelForms();
    }

    public void Dispose()
    {
        lock (_gate)
        {
            foreach (var weight in _weights.Values)
                weight.Array.Dispose();
            _weights.Clear();
            _sites.Clear();
        }
    }

    /// <summary>
    /// A weight that two ops use in the same way, such as an embedding tied to the output layer, is quantized once; one
    /// that they use in different ways has a second array.
    /// </summary>
    private QuantizedWeight FindOrMake(OpSite site, ModelOperand operand, WeightUse use, HowToQuantize how)
    {
        string name = use.ArrayName, signature = Signature(how);
        for (int i = 2; _weights.TryGetValue(name, out var known); i++)
        {
            if (known.Signature == signature)
                return known;
            name = $"{use.ArrayName}#{i}";
        }

        if (isReleased(use))
            throw new QwixException($"{site} uses the parameter \"{use.ArrayName}\" in a way that is new, after its values were given up. Run the model in all the ways it will be used before ReleaseOriginalWeights. Rule: {site.Rule}");
        return _weights[name] = new QuantizedWeight(use, how, signature, Quantize(site, operand, use, how));
    }

    private static QArray Quantize(OpSite site, ModelOperand operand, WeightUse use, HowToQuantize how)
    {
        var value = use.View.Length == 0 ? use.Parameter : operand.Value;
        try
        {
            if (value.device_type == DeviceType.META)
                return Quantizer.Abstract(value, how).DetachFromDisposeScope();
            using var noGrad = no_grad();
            using var scope = NewDisposeScope();
            if (!NotFinite.IsNowhereIn(value))
                throw new ArgumentException("it has NaN or infinite values. Quantize a model whose weights are finite.");
            var array = Quantizer.Quantize(value, how).DetachFromDisposeScope();
            return site is { Rule: LoraRule { DoubleQuantization: true }, OpName: not OpNames.Embedding } ? array.QuantizeScale() : array;
        }
        catch (ArgumentException error)
        {
            throw new QwixException($"Parameter \"{use.ArrayName}\" of shape [{string.Join(", ", value.shape)}] cannot be quantized for {site}: {error.Message} Rule: {site.Rule}", error);
        }
    }

    private static string Signature(HowToQuantize how) =>
        $"{how.QType}|{how.Calibration}|{how.ScaleDtype}|{string.Join(",", how.ChannelwiseAxes.Order())}|{string.Join(",", how.TiledAxes.OrderBy(t => t.Key).Select(t => $"{t.Key}:{t.Value}"))}";
}

/// <summary>A weight in quantized form, which parameter it stands for, and how it was made.</summary>
internal sealed record QuantizedWeight(WeightUse Use, HowToQuantize How, string Signature, QArray Array)
{
    /// <summary>The dtype in which the scales are stored: the smaller one that they were rounded to, unless others were loaded since.</summary>
    internal ScalarType FindScaleDtype()
    {
        if (How.ScaleDtype is not { } rounded)
            return Array.Dtype;
        using var scope = NewDisposeScope();
        using var scale = Array.LendScale();
        return scale.to(rounded).to(scale.dtype).eq(scale).all().item<bool>() ? rounded : Array.Dtype;
    }
}
