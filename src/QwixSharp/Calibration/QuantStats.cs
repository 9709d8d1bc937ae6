using System.Collections.Concurrent;
using QwixSharp.Arrays;
using QwixSharp.Numerics;
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
                Own(parts["count"], ScalarType.Int32),
                [.. names.Skip(1).Select(n => (n[Sum.Length..], Own(parts[n], ScalarType.Float32)))]);
        }

        return stats;
    }

    /// <summary>All statistics as tensors: <c>place.count</c> (int32, rank 0) and the sums (float32, the shape of the scale).</summary>
    /// <returns>Copies that the caller owns.</returns>
    public IReadOnlyDictionary<string, Tensor> ToTensors()
    {
        var tensors = new SortedDictionary<string, Tensor>(StringComparer.Ordinal);
        foreach (var (place, name, tensor) in Live())
            tensors[$"{place}.{name}"] = tensor.clone();
        return tensors;
    }

    /// <summary>Frees the tensors.</summary>
    public void Dispose()
    {
        foreach (var entry in _entries.Values)
            entry.Dispose();
    }

    /// <summary>Raised when a place is seen for the first time.</summary>
    internal event Action? Added;

    /// <summary>The tensors themselves: for each place its count, and its sums.</summary>
    internal IEnumerable<(string Place, string Name, Tensor Tensor)> Live()
    {
        foreach (var (place, entry) in _entries.OrderBy(e => e.Key, StringComparer.Ordinal))
        {
            yield return (place, "count", entry.Count);
            foreach (var (name, sum) in entry.Sums)
                yield return (place, Sum + name, sum);
        }
    }

    /// <summary>Makes a place known, with no range seen yet.</summary>
    internal void Reserve(string place, CalibrationRange range)
    {
        using var noGrad = no_grad();
        bool isNew = false;
        _entries.GetOrAdd(place, _ =>
        {
            isNew = true;
            return new Entry(
                zeros([], ScalarType.Int32, range.Named.First().Value.device).DetachFromDisposeScope(),
                [.. range.Named.Select(n => (n.Name, zeros_like(n.Value, dtype: ScalarType.Float32).DetachFromDisposeScope()))]);
        });
        if (isNew)
            Added?.Invoke();
    }

    /// <summary>Adds one range that was seen at a place.</summary>
    /// <exception cref="QwixException">The place had ranges of another shape or kind before.</exception>
    internal void Update(string place, CalibrationRange range) => Record(place, range, forget: false);

    /// <summary>Forgets what was seen at a place, and adds one range.</summary>
    /// <exception cref="QwixException">The place had ranges of another shape or kind before.</exception>
    internal void Replace(string place, CalibrationRange range) => Record(place, range, forget: true);

    private void Record(string place, CalibrationRange range, bool forget)
    {
        using var noGrad = no_grad();
        Reserve(place, range);
        var (entry, one) = (_entries[place], LastingNumber.Of(1));
        lock (entry)
        {
            CheckFits(place, entry, range);
            foreach (var ((_, sum), (_, value)) in entry.Sums.Zip(range.Named))
                _ = forget ? sum.copy_(value) : sum.add_(value, one);
            _ = forget ? entry.Count.fill_(one) : entry.Count.add_(one, one);
        }
    }

    /// <summary>Whether any range was seen at a place.</summary>
    internal bool WasSeen(string place) => _entries.TryGetValue(place, out var entry) && entry.Count.item<int>() > 0;

    /// <summary>The mean range of a place; the caller owns it.</summary>
    /// <param name="place">The place.</param>
    /// <param name="like">A range whose shape it must have, and whose dtype it gets; null for float32.</param>
    /// <exception cref="QwixException">The place was never seen, or had ranges of another shape or kind.</exception>
    internal CalibrationRange GetRange(string place, CalibrationRange? like = null)
    {
        if (!WasSeen(place))
            throw new QwixException($"There are no statistics for \"{place}\": run the model on some batches in calibration first. Known are: {string.Join(", ", Places)}.");
        var entry = _entries[place];
        lock (entry)
        {
            if (like is not null)
                CheckFits(place, entry, like);
            using var noGrad = no_grad();
            using var scope = NewDisposeScope();
            Tensor Mean(int i) => (entry.Sums[i].Sum / entry.Count).to(like?.Named.First().Value.dtype ?? ScalarType.Float32);
            var range = entry.Sums.Length == 1 ? CalibrationRange.Symmetric(Mean(0)) : CalibrationRange.Asymmetric(Mean(0), Mean(1));
            return range.MoveToOuterDisposeScope();
        }
    }

    /// <summary>Takes over the statistics of another object, in tensors of its own.</summary>
    internal void CopyFrom(QuantStats other)
    {
        foreach (var (place, entry) in other._entries)
        {
            lock (entry)
                _entries[place] = entry.Select(t => t.clone());
        }
    }

    /// <summary>Moves the tensors to a device.</summary>
    internal void Move(Device device)
    {
        foreach (var (place, entry) in _entries.ToList())
        {
            _entries[place] = entry.Select(t => t.to(device, copy: true));
            entry.Dispose();
        }
    }

    private static Tensor Own(Tensor tensor, ScalarType dtype) => tensor.to(dtype, copy: true).DetachFromDisposeScope();

    private static void CheckFits(string place, Entry entry, CalibrationRange range)
    {
        foreach (var ((name, sum), (newName, value)) in entry.Sums.Zip(range.Named))
        {
            if (name != newName || !sum.shape.SequenceEqual(value.shape))
                throw new QwixException($"The statistics of \"{place}\" have {name} of shape [{string.Join(", ", sum.shape)}], but an activation gave {newName} of shape [{string.Join(", ", value.shape)}]. Add the axes whose length varies to ActBatchAxes.");
        }
    }

    private sealed record Entry(Tensor Count, (string Name, Tensor Sum)[] Sums) : IDisposable
    {
        internal Entry Select(Func<Tensor, Tensor> f) =>
            new(f(Count).DetachFromDisposeScope(), [.. Sums.Select(s => (s.Name, f(s.Sum).DetachFromDisposeScope()))]);

        public void Dispose()
        {
            Count.Dispose();
            foreach (var (_, sum) in Sums)
                sum.Dispose();
        }
    }
}
