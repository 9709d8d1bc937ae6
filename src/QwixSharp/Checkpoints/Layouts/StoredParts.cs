namespace QwixSharp.Checkpoints.Layouts;

/// <summary>The stored tensors of one module that make up its weight, by the last part of their names.</summary>
internal sealed class StoredParts
{
    private readonly Checkpoint _checkpoint;
    private readonly Dictionary<string, TensorEntry> _parts = new(StringComparer.Ordinal);

    private StoredParts(Checkpoint checkpoint, string module, IEnumerable<string> names)
    {
        _checkpoint = checkpoint;
        Module = module;
        foreach (var name in names)
        {
            if (checkpoint.Contains(FullName(name)))
                _parts[name] = checkpoint.Entry(FullName(name));
        }
    }

    /// <summary>The path of the module; empty for the root.</summary>
    internal string Module { get; }

    /// <summary>The name of the weight.</summary>
    internal string WeightName => FullName("weight");

    /// <summary>All parts that are there.</summary>
    internal IReadOnlyList<TensorEntry> All => [.. _parts.Values];

    /// <summary>The module of a tensor by the last part of its name; null where that is another.</summary>
    internal static string? ModuleOf(string name, string part)
    {
        if (name == part)
            return "";
        return name.Length > part.Length && name.EndsWith(part, StringComparison.Ordinal) && name[^(part.Length + 1)] == '.' ? name[..^(part.Length + 1)] : null;
    }

    /// <summary>The name of a part of a module.</summary>
    internal static string Join(string module, string part) => module.Length == 0 ? part : module + "." + part;

    /// <summary>Groups the tensors of a checkpoint: each whose name ends so, with its kin, becomes one weight; all others stay as they are.</summary>
    internal static IReadOnlyList<LogicalTensor> Gather(Checkpoint checkpoint, string part, ReadOnlySpan<string> kin, Func<StoredParts, LogicalTensor> make) =>
        Gather(checkpoint, (_, entry) => ModuleOf(entry.Name, part), [part, .. kin], make);

    /// <summary>Groups the tensors of a checkpoint: each that is a module's weight, with its kin, becomes one; all others stay as they are.</summary>
    internal static IReadOnlyList<LogicalTensor> Gather(Checkpoint checkpoint, Func<Checkpoint, TensorEntry, string?> moduleOf, string[] parts, Func<StoredParts, LogicalTensor> make)
    {
        var logical = new List<LogicalTensor>();
        var taken = new HashSet<string>(StringComparer.Ordinal);
        foreach (var entry in checkpoint.Tensors)
        {
            if (moduleOf(checkpoint, entry) is not { } module)
                continue;
            var stored = new StoredParts(checkpoint, module, parts);
            logical.Add(make(stored));
            taken.UnionWith(stored.All.Select(p => p.Name));
        }

        logical.AddRange(checkpoint.Tensors.Where(t => !taken.Contains(t.Name)).Select(t => new PlainTensor(checkpoint, t)));
        var seen = new HashSet<string>(StringComparer.Ordinal);
        return logical.Find(t => !seen.Add(t.Name)) is { } twice
            ? throw new CheckpointException($"{CheckpointException.Quote(checkpoint.Path)} has {CheckpointException.Quote(twice.Name)} both quantized and plain.")
            : logical;
    }

    internal bool Has(string name) => _parts.ContainsKey(name);

    /// <summary>A part, or null.</summary>
    internal TensorEntry? Find(string name) => _parts.GetValueOrDefault(name);

    /// <summary>A part that must be there, of a dtype and a rank.</summary>
    /// <exception cref="CheckpointException">It is not, or not so.</exception>
    internal TensorEntry Entry(string name, int rank, params ReadOnlySpan<CheckpointDtype> dtypes)
    {
        if (!_parts.TryGetValue(name, out var entry))
            throw Missing(name);
        return entry.Shape.Count == rank && dtypes.Contains(entry.Dtype)
            ? entry
            : throw new CheckpointException($"{CheckpointException.Quote(_checkpoint.Path)} has {entry}, which should have {rank} axes and be {string.Join(" or ", dtypes.ToArray())}.");
    }

    /// <summary>A part of scales.</summary>
    internal TensorEntry Scales(string name, int rank) =>
        Entry(name, rank, CheckpointDtype.Float32, CheckpointDtype.Float16, CheckpointDtype.BFloat16, CheckpointDtype.Float64);

    /// <summary>Reads a part.</summary>
    internal TorchSharp.torch.Tensor Read(string name) => _checkpoint.Read(FullName(name));

    /// <summary>The error of a part that is not there.</summary>
    internal CheckpointException Missing(string name) =>
        new($"{CheckpointException.Quote(_checkpoint.Path)} has no {CheckpointException.Quote(FullName(name))}, without which {CheckpointException.Quote(WeightName)} cannot be read.");

    /// <summary>The error of a part whose shape does not fit the others.</summary>
    internal CheckpointException Misfit(string name, string why) =>
        new($"{CheckpointException.Quote(_checkpoint.Path)} has {_parts[name]}, {why}.");

    private string FullName(string part) => Join(Module, part);
}
