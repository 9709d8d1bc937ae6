using TorchSharp.Modules;
using static TorchSharp.torch;

namespace QwixSharp.Interception.NativeModules;

/// <summary>
/// Measures the options of a native MultiheadAttention, of which TorchSharp keeps none: the number of heads and
/// whether a zero key is added by comparing attention weights, dropout by the gaps between dropped weights.
/// </summary>
[NotIntercepted]
internal static class AttentionProbe
{
    private const double Commanding = 1e4;

    /// <summary>The number of heads and whether a zero key is added.</summary>
    /// <exception cref="QwixException">The module's weights give equal attention for several numbers of heads.</exception>
    internal static AttentionSettings Structure(MultiheadAttention module, AttentionNames names)
    {
        var like = ModuleParameters.Required(module, names.OutWeight);

        // On the meta device there are no values, so nothing depends on the number of heads but inner shapes.
        if (like.device.type == TorchSharp.DeviceType.META) return new(1, false, 0);
        lock (Probe.Gate)
        {
            using var scope = NewDisposeScope();
            using var nothing = no_grad();
            return Probe.InMode(module, false, () => Compare(module, names, like));
        }
    }

    /// <summary>The dropout probability.</summary>
    internal static double Dropout(MultiheadAttention module, AttentionNames names, long heads)
    {
        var like = ModuleParameters.Required(module, names.OutWeight);
        if (like.device.type == TorchSharp.DeviceType.META) return 0;
        lock (Probe.Gate)
        {
            using var scope = NewDisposeScope();
            using var nothing = no_grad();
            return Probe.KeepingRandomState(() => Probe.InMode(module, true, () => Spread(module, names, like, heads)));
        }
    }

    private static AttentionSettings Compare(MultiheadAttention module, AttentionNames names, Tensor like)
    {
        const long targets = 3, sources = 4, batch = 2;
        var width = like.shape[0];
        var extra = ModuleParameters.Optional(module, names.KeyBias) is null ? 0 : 1;
        var candidates = new List<long>();
        for (var h = 1L; h <= width; h++)
        {
            if (width % h == 0) candidates.Add(h);
        }

        for (var amplitude = 1.0; amplitude <= 4096; amplitude *= 4)
        {
            var query = Probe.Values(1, like, targets, batch, width) * amplitude;
            var key = Probe.Values(2, like, sources, batch, Features(module, names.KeyWeight, width)) * amplitude;
            var value = Probe.Values(3, like, sources, batch, Features(module, names.ValueWeight, width));
            var native = module.forward(query, key, value, null, true, null).Item2;
            var zero = native.shape[2] > sources + extra;
            var differences = candidates.ConvertAll(h => Probe.MaxDifference(native, Attention.Attend(module, names, new(h, zero, 0), query, key, value, null, null, true).Weights!));
            var best = differences.IndexOf(differences.Min());
            var next = differences.Where((_, i) => i != best).DefaultIfEmpty(1).Min();

            // Small weights give near-uniform attention whatever the heads; a larger input brings the differences out.
            if (next > 0.01 && differences[best] < next / 5) return new(candidates[best], zero, 0);
        }

        throw new QwixException($"The number of heads of {module.GetName()} cannot be told from its weights, which attend evenly: initialize or load them before the first quantized run, or exclude the module by a rule.");
    }

    private static long Features(MultiheadAttention module, string name, long width) =>
        ModuleParameters.Optional(module, name)?.shape[1] ?? width;

    /// <remarks>
    /// Where one key gets all the attention, each head's weight is 0 or 1 ÷ (1 − p) after dropout, and their average
    /// is a whole multiple of 1 ÷ (heads · (1 − p)).
    /// </remarks>
    private static double Spread(MultiheadAttention module, AttentionNames names, Tensor like, long heads)
    {
        const long targets = 64, batch = 8;
        var width = like.shape[0];
        var query = Probe.Values(1, like, targets, batch, width);
        var key = Probe.Values(2, like, 1, batch, Features(module, names.KeyWeight, width));
        var value = Probe.Values(3, like, 1, batch, Features(module, names.ValueWeight, width));
        var mask = full([targets, 1], Commanding, dtype: like.dtype, device: like.device);
        var weights = Probe.ToArray(module.forward(query, key, value, null, true, mask).Item2.select(2, 0));
        Array.Sort(weights);
        if (weights[^1] == 0) return 1;

        // A level is a count of kept heads, so neighbouring levels are one unit apart, and no unit is smaller than this:
        var least = weights[^1] / heads;
        var gaps = weights.Zip(weights.Skip(1), (a, b) => b - a).Where(gap => gap > least * 0.5);
        var unit = gaps.DefaultIfEmpty(least).Min();
        var levels = weights.Sum(w => Math.Round(w / unit));
        return Probe.Probability(weights.Sum() / levels * heads, like.dtype);
    }
}
