using System.Globalization;

namespace QwixSharp.Checkpoints.Pickle;

/// <summary>Finds the tensors in what a pickle holds.</summary>
internal static class StateDict
{
    private const int MaxDepth = 32;

    /// <summary>
    /// The tensors by name: a key, or keys with dots between them where dicts lie in each other. A dict that is the only one with
    /// tensors in one that has none itself, such as <c>{"epoch": 3, "state_dict": {…}}</c>, is taken for the whole.
    /// </summary>
    /// <param name="root">What the pickle holds.</param>
    /// <param name="maxVisits">The most objects that are looked at: shared ones could otherwise multiply without end.</param>
    /// <exception cref="FormatException">There is no end to it, or a name occurs twice.</exception>
    internal static OrderedDictionary<string, PickleTensor> Flatten(object? root, long maxVisits)
    {
        var found = new List<(string[] Path, PickleTensor Tensor)>();
        long left = maxVisits;
        Visit(root, [], found, ref left);
        int shared = SharedWrappers(found);
        var tensors = new OrderedDictionary<string, PickleTensor>(StringComparer.Ordinal);
        foreach (var (path, tensor) in found)
        {
            string name = string.Join('.', path[shared..]);
            if (!tensors.TryAdd(name, tensor))
                throw new FormatException($"it has the tensor {CheckpointException.Quote(name)} twice");
        }

        return tensors;
    }

    /// <summary>The leading keys that all tensors share and that are no part of a tensor's own name: those of dicts around the state dict.</summary>
    private static int SharedWrappers(List<(string[] Path, PickleTensor Tensor)> found)
    {
        int shared = 0;
        while (found.Count > 0 && found.TrueForAll(f => f.Path.Length > shared + 1 && f.Path[shared] == found[0].Path[shared]))
            shared++;
        return shared;
    }

    private static void Visit(object? value, string[] path, List<(string[] Path, PickleTensor Tensor)> found, ref long left)
    {
        if (--left < 0 || path.Length > MaxDepth)
            throw new FormatException("its lists and dicts lie too deep in each other");
        if (value is PickleTensor tensor)
        {
            found.Add((path, tensor));
            return;
        }

        IEnumerable<(string Key, object? Value)> items = value switch
        {
            PickleDict dict => dict.Items.Select(p => (string.Create(CultureInfo.InvariantCulture, $"{p.Key}"), p.Value)),
            IReadOnlyList<object?> list => list.Select((v, i) => (i.ToString(CultureInfo.InvariantCulture), v)),
            _ => [],
        };
        foreach (var (key, item) in items)
            Visit(item, [.. path, key], found, ref left);
    }
}
