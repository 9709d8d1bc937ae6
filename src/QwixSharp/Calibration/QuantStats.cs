using System.Collections.Concurrent;
using QwixSharp.Arrays;
using static TorchSharp.torch;

namespace QwixSharp.Calibration;

/// <summary>
/// Statistics of activations, from which static scales are made: for each place, such as
/// <c>layers.0.proj.dot_general0_lhs</c>, how often it was seen (<c>count</c>) and the sums of its ranges
/// (<c>sum_of_absmax</c>, or <c>sum_of_min</c> and <c>sum_of_max</c>). Owns its tensors.
/// </summary>
/// <remarks>The mean over all that was seen is the range (a simple moving average, as in the reference). Safe for several threads.</remarks>
public sealed class QuantStats : IDisposable
{
    private const string Sum = "sum_of_";
    private readonly ConcurrentDictionary<string, Entry> _entries = new(StringComparer.Ordinal);

    /// <summary>The places that have statistics, sorted.</summary>
    public IReadOnlyList<string> Places => [.. _entries.Keys.Order(StringComparer.Ordinal)];

    /// <summary>Makes statistics of tensors that are named as <see cref="ToTensors"/> names them; they are copied.</summary>
    /// <param name="tensors">From <c>place.count</c> and <c>place.sum_of_absmax</c> (or <c>sum_of_min</c>, <c>sum_of_max</c>) to a tensor.</param>
    /// <returns>The statistics.</returns>
    /// <exception cref="QwixException">A name is none of these, or a place lacks its count or sums.</exception>
    public static QuantStats FromTensors(IReadOnlyDictionary<string, Tensor> tensors)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        var stats = new QuantStats();
        foreach (var place in tensors.GroupBy(t => t.Key[..Math.Max(0, t.Key.LastIndexOf('.'))]))
        {
            var parts = place.ToDictionary(t => t.Key[(place.Key.Length + 1)..], t => t.Value);
            bool symmetric = parts.ContainsKey(Sum + "absmax");
            string[] names = symmetric ? ["count", Sum + "absmax"] : ["count", Sum + "min", Sum + "max"];
            if (place.Key.Length == 0 || !parts.Keys.Order().SequenceEqual(names.Order()))
                throw new QwixException($"Statistics of \"{place.Key}\" have {string.Join(", ", parts.Keys)}; they need count and sum_of_absmax, or count, sum_of_min and sum_of_max.");
            stats._entries[place.Key] = new Entry(
                parts["count"].to(ScalarType.Int64).item<long>(),
                [.. names.Skip(1).Select(n => (n[Sum.Length..], parts[n].to(ScalarType.Float32, copy: true).DetachFromDisposeScope()))]);
        }

        return stats;
    }

    /// <summary>All statistics as tensors: <c>place.count</c> (int32, rank 0) and the sums (float32, the shape of the scale).</summary>
    /// <returns>Copies that the caller owns.</returns>
    public IReadOnlyDictionary<string, Tensor> ToTensors()
    {
        var tensors = new SortedDictionary<string, Tensor>(StringComparer.Ordinal);
        foreach (var (place, entry) in _entries)
        {
            lock (entry)
            {
                tensors[place + ".count"] = tensor((int)entry.Count);
                foreach (var (name, sum) in entry.Sums)
                    tensors[$"{place}.{Sum}{name}"] = sum.clone();
            }
        }

        return tensors;
    }

    /// <summary>Frees the tensors.</summary>
    public void Dispose()
    {
        foreach (var entry in _entries.Values)
        {
            foreach (var (_, sum) in entry.Sums)
                sum.Dispose();
        }
    }

    /// <summary>Adds one range that was seen at a place.</summary>
    /// <exception cref="QwixException">The place had ranges of another shape or kind before.</exception>
    internal void Update(string place, CalibrationRange range)
    {
        using var noGrad = no_grad();
        var entry = _entries.GetOrAdd(place, _ => new Entry(0, [.. range.Named.Select(n => (n.Name, zeros_like(n.Value, dtype: ScalarType.Float32).DetachFromDisposeScope()))]));
        lock (entry)
        {
            foreach (var ((name, sum), (newName, value)) in entry.Sums.Zip(range.Named))
            {
                if (name != newName || !sum.shape.SequenceEqual(value.shape))
                    throw new QwixException($"The statistics of \"{place}\" have {name} of shape [{string.Join(", ", sum.shape)}], but an activation gave {newName} of shape [{string.Join(", ", value.shape)}]. Add the axes whose length varies to ActBatchAxes.");
                sum.add_(value);
            }

            entry.Count++;
        }
    }

    /// <summary>Forgets what was seen at a place, and adds one range.</summary>
    internal void Replace(string place, CalibrationRange range)
    {
        if (_entries.TryRemove(place, out var old))
        {
            foreach (var (_, sum) in old.Sums)
                sum.Dispose();
        }

        Update(place, range);
    }

    /// <summary>Whether a place was ever seen.</summary>
    internal bool Has(string place) => _entries.TryGetValue(place, out var entry) && entry.Count > 0;

    /// <summary>The mean range of a place; the caller owns it.</summary>
    /// <exception cref="QwixException">The place was never seen.</exception>
    internal CalibrationRange GetRange(string place)
    {
        if (!_entries.TryGetValue(place, out var entry) || entry.Count == 0)
            throw new QwixException($"There are no statistics for \"{place}\": run the model on some batches in calibration first. Known are: {string.Join(", ", Places)}.");
        lock (entry)
        {
            Tensor Mean(int i) => entry.Sums[i].Sum / (float)entry.Count;
            return entry.Sums.Length == 1 ? CalibrationRange.Symmetric(Mean(0)) : CalibrationRange.Asymmetric(Mean(0), Mean(1));
        }
    }

    private sealed class Entry(long count, (string Name, Tensor Sum)[] sums)
    {
        internal long Count { get; set; } = count;

        internal (string Name, Tensor Sum)[] Sums { get; } = sums;
    }
}
