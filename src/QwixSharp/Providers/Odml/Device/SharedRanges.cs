using QwixSharp.Arrays;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Odml.Device;

/// <summary>
/// Parts of one tensor have one range on a device, since ops that move data have the codes of what they move: the widest of those that were seen
/// for the parts. Otherwise their values would be rounded twice, to the whole's codes and to their own.
/// </summary>
internal sealed class SharedRanges
{
    private readonly Dictionary<(TensorMemoryVersion Memory, int Writes), List<FakeQuantRequest>> _requests = [];
    private Dictionary<string, string[]> _places = [];

    /// <summary>Takes note of a tensor's fake-quant in the first pass.</summary>
    internal void Note(FakeQuantRequest request)
    {
        if (request is not { HasStats: true, Weight: null, Tag: { SplitsWithProduct: false } tag })
            return;
        lock (_requests)
        {
            // Between writes in place the values are others.
            var key = (tag.Memory, tag.Memory.Writes);
            if (!_requests.TryGetValue(key, out var list))
                _requests[key] = list = [];
            list.Add(request);
        }
    }

    /// <summary>Ends the first pass.</summary>
    internal void End()
    {
        _places = _requests.Values.SelectMany(list => list.GroupBy(r => r.How.QType))
            .Select(group => group.Select(r => r.Place).Distinct().ToArray())
            .Where(places => places.Length > 1)
            .SelectMany(places => places.Select(place => (place, places)))
            .ToDictionary(p => p.place, p => p.places);
        _requests.Clear();
    }

    /// <summary>The places that share their range with one, itself among them; null where it has its own.</summary>
    internal string[]? With(string place) => _places.GetValueOrDefault(place);

    /// <summary>The range that holds two, in the shape of the first.</summary>
    internal static CalibrationRange Union(CalibrationRange range, CalibrationRange other)
    {
        if (range.AbsMax is { } absMax && other.AbsMax is { } otherMax)
            return otherMax.NumberOfElements == 1 ? CalibrationRange.Symmetric(maximum(absMax, otherMax.reshape(1))) : range;
        return range.Min is { } min && other.Min is { NumberOfElements: 1 } otherMin
            ? CalibrationRange.Asymmetric(minimum(min, otherMin.reshape(1)), maximum(range.Max!, other.Max!.reshape(1)))
            : range;
    }
}
