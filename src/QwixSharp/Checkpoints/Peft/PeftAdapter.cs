using System.Text.RegularExpressions;
using QwixSharp.Providers;
using QwixSharp.Providers.Lora;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Peft;

/// <summary>A LoRA adapter in a folder as Hugging Face's PEFT writes it.</summary>
internal sealed class PeftAdapter : IDisposable
{
    internal const string FileName = "adapter_model.safetensors";
    internal const string Prefix = "base_model.model.";
    internal const string SuffixA = ".lora_A.weight";
    internal const string SuffixB = ".lora_B.weight";

    private readonly Checkpoint _checkpoint;
    private readonly PeftConfig _config;
    private readonly SortedSet<string> _modules = new(StringComparer.Ordinal);

    private PeftAdapter(Checkpoint checkpoint, PeftConfig config)
    {
        (_checkpoint, _config) = (checkpoint, config);
        foreach (var entry in checkpoint.Tensors)
            _modules.Add(ModuleOf(entry));
    }

    /// <summary>Opens an adapter and looks through what it has.</summary>
    /// <exception cref="CheckpointException">The folder holds no adapter, or one that is not known here.</exception>
    internal static PeftAdapter Open(string folder)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        var config = PeftConfig.Open(folder);
        var checkpoint = Checkpoint.Open(Path.Combine(folder, FileName));
        try
        {
            var adapter = new PeftAdapter(checkpoint, config);
            foreach (var module in adapter._modules)
                adapter.Check(module);
            return adapter;
        }
        catch
        {
            checkpoint.Dispose();
            throw;
        }
    }

    /// <summary>Rules that give a model this adapter's shape: for each rank and scaling, the modules by their whole paths.</summary>
    internal IReadOnlyList<LoraRule> Rules() =>
    [
        .. _modules.GroupBy(m => (Rank: _config.RankOf(m), Alpha: _config.AlphaOf(m))).Select(g => new LoraRule
        {
            ModulePath = string.Join("|", g.Select(Regex.Escape)),
            Rank = g.Key.Rank,
            Alpha = g.Key.Alpha,
            RankStabilized = _config.RankStabilized,
            Dropout = _config.Dropout,
        }),
    ];

    /// <summary>Puts the adapter on a model under a name. The model is changed only when all of it fits.</summary>
    /// <exception cref="QwixException">The model has no adapters where this one has, or of another shape.</exception>
    internal void PutOn(ILoraModel model, string name)
    {
        var targets = model.Adapters.Targets;
        var weights = new SortedDictionary<string, LoraWeights>(StringComparer.Ordinal);
        try
        {
            foreach (var module in _modules)
            {
                string parameter = module + ".weight";
                if (!targets.TryGetValue(parameter, out var target))
                    throw new QwixException($"The adapter in {CheckpointException.Quote(_checkpoint.Path)} has weights for module \"{module}\", but the model has no adapter there. Apply LoRA with Qwix.ReadAdapterRules, and to the model that the adapter was made for. The model has adapters for: {string.Join(", ", targets.Keys.Take(12))}{(targets.Count > 12 ? ", …" : "")}.");
                weights[parameter] = Read(module, target);
            }

            model.Adapters.Put(name, weights);
        }
        catch
        {
            foreach (var pair in weights.Values)
                pair.Dispose();
            throw;
        }
    }

    public void Dispose() => _checkpoint.Dispose();

    private LoraWeights Read(string module, LoraTarget target)
    {
        int rank = _config.RankOf(module);
        target.CheckRank(rank, target.Use.Parameter.shape, "It does not belong to this model.");
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        Tensor a = _checkpoint.Read(Prefix + module + SuffixA), b = _checkpoint.Read(Prefix + module + SuffixB);
        var (ownA, ownB) = PeftLayout.FromFile(target.Form.Layout, a, b);
        long[] wantedA = target.Form.ShapeA(rank), wantedB = target.Form.ShapeB(rank);
        if (!ownA.shape.SequenceEqual(wantedA) || !ownB.shape.SequenceEqual(wantedB))
            throw new QwixException($"The adapter for module \"{module}\" has A [{string.Join(", ", a.shape)}] and B [{string.Join(", ", b.shape)}], which do not fit its weight of shape [{string.Join(", ", target.Use.Parameter.shape)}]. It was made for another model.");
        return new LoraWeights(Own(ownA), Own(ownB), rank, _config.AlphaOf(module), _config.RankStabilized, _config.Dropout);

        TorchSharp.Modules.Parameter Own(Tensor value) => LoraWeights.Own(value.to(target.Dtype, target.Device, copy: true).contiguous());
    }

    private string ModuleOf(TensorEntry entry)
    {
        string name = entry.Name;
        foreach (var suffix in new[] { SuffixA, SuffixB })
        {
            if (name.StartsWith(Prefix, StringComparison.Ordinal) && name.EndsWith(suffix, StringComparison.Ordinal) && name.Length > Prefix.Length + suffix.Length)
                return name[Prefix.Length..^suffix.Length];
        }

        throw new CheckpointException($"{CheckpointException.Quote(_checkpoint.Path)} has the tensor {entry}, which is no LoRA weight of a linear layer or convolution ({Prefix}…{SuffixA}). Merge the adapter into its base with PEFT's merge_and_unload.");
    }

    private void Check(string module)
    {
        string a = Prefix + module + SuffixA, b = Prefix + module + SuffixB;
        if (!_checkpoint.Contains(a) || !_checkpoint.Contains(b))
            throw new CheckpointException($"{CheckpointException.Quote(_checkpoint.Path)} has only one of lora_A and lora_B for module {CheckpointException.Quote(module)}. Save the adapter again.");
        var (shapeA, shapeB) = (_checkpoint.Entry(a).Shape, _checkpoint.Entry(b).Shape);
        int rank = _config.RankOf(module);
        if (rank < 1)
            throw new CheckpointException($"{PeftConfig.FileName} beside {CheckpointException.Quote(_checkpoint.Path)} gives module {CheckpointException.Quote(module)} a rank of {rank}; it must be at least 1.");
        if (shapeA.Count < 2 || shapeB.Count != shapeA.Count || shapeA[0] != rank || shapeB[1] != rank)
            throw new CheckpointException($"Module {CheckpointException.Quote(module)} has lora_A [{string.Join(", ", shapeA)}] and lora_B [{string.Join(", ", shapeB)}] in {CheckpointException.Quote(_checkpoint.Path)}, but its rank is {rank} by {PeftConfig.FileName}: [{rank}, in, …] and [out, {rank}, …] are expected.");
    }
}
