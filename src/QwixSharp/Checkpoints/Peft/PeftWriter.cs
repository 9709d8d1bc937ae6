using System.Text.Json;
using QwixSharp.Checkpoints.Files;
using QwixSharp.Providers;
using QwixSharp.Providers.Lora;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Peft;

/// <summary>Writes an adapter into a folder as Hugging Face's PEFT does.</summary>
internal static class PeftWriter
{
    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };

    /// <exception cref="QwixException">There is no such adapter, or PEFT has no layout for one of its weights.</exception>
    /// <exception cref="CheckpointException">The folder cannot be written to.</exception>
    internal static void Write(ILoraModel model, string folder, string? name, string? baseModel)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentException.ThrowIfNullOrEmpty(folder);
        name ??= model.Adapters.Active ?? throw new QwixException($"No adapter is active: name the one to save. There are: {string.Join(", ", model.Adapters.Names)}.");
        var weights = model.Adapters[name];
        var layers = weights.Select(w => (Module: ModuleOf(w.Key, model.Adapters.Targets[w.Key]), w.Value, model.Adapters.Targets[w.Key].Form.Layout)).ToList();
        try
        {
            Directory.CreateDirectory(folder);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"Cannot make the folder {CheckpointException.Quote(folder)}: {FileErrors.Describe(error)}", error);
        }

        WriteTensors(folder, layers);
        var config = Config(layers.ToDictionary(l => l.Module, l => l.Value), [.. model.Original.named_modules().Select(m => m.name)], baseModel);
        var json = JsonSerializer.SerializeToUtf8Bytes(config, Indented);
        using var file = new NewFile(Path.Combine(folder, PeftConfig.FileName), json.Length);
        file.Write(json, 0);
        file.Complete();
    }

    private static void WriteTensors(string folder, IReadOnlyList<(string Module, LoraWeights Weights, LoraLayout Layout)> layers)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var tensors = new Dictionary<string, Tensor>();
        foreach (var (module, weights, layout) in layers)
        {
            var (a, b) = PeftLayout.ToFile(layout, weights.A, weights.B);
            tensors[PeftAdapter.Prefix + module + PeftAdapter.SuffixA] = a;
            tensors[PeftAdapter.Prefix + module + PeftAdapter.SuffixB] = b;
        }

        var metadata = new Dictionary<string, string> { ["format"] = "pt" };
        using var writer = SafetensorsWriter.Create(Path.Combine(folder, PeftAdapter.FileName), tensors.Select(t => TensorEntry.Of(t.Key, t.Value)), metadata);
        foreach (var (key, tensor) in tensors)
            writer.Write(key, tensor);
        writer.Complete();
    }

    private static SortedDictionary<string, object?> Config(Dictionary<string, LoraWeights> layers, IReadOnlyList<string> modules, string? baseModel)
    {
        bool stabilized = layers.Values.All(w => w.RankStabilized);
        // Where only some are rank-stabilized, the scaling of each is written as an alpha.
        var alphas = layers.ToDictionary(l => l.Key, l => stabilized ? l.Value.Alpha : l.Value.Scaling * l.Value.Rank);
        int rank = MostCommon(layers.Values.Select(w => w.Rank));
        double alpha = MostCommon(alphas.Values);
        return new(StringComparer.Ordinal)
        {
            ["alpha_pattern"] = alphas.Where(a => a.Value != alpha).ToDictionary(a => a.Key, a => a.Value),
            ["base_model_name_or_path"] = baseModel,
            ["bias"] = "none",
            ["fan_in_fan_out"] = false,
            ["inference_mode"] = true,
            ["init_lora_weights"] = true,
            ["lora_alpha"] = alpha,
            ["lora_dropout"] = MostCommon(layers.Values.Select(w => w.Dropout)),
            ["modules_to_save"] = null,
            ["peft_type"] = "LORA",
            ["r"] = rank,
            ["rank_pattern"] = layers.Where(l => l.Value.Rank != rank).ToDictionary(l => l.Key, l => l.Value.Rank),
            ["target_modules"] = TargetModules([.. layers.Keys], modules),
            ["task_type"] = null,
            ["use_dora"] = false,
            ["use_rslora"] = stabilized,
        };
    }

    /// <summary>PEFT takes a name for all modules whose path ends with it: the last part is enough where no other module has it.</summary>
    private static List<string> TargetModules(HashSet<string> adapted, IReadOnlyList<string> modules)
    {
        var targets = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var path in adapted)
        {
            string last = path[(path.LastIndexOf('.') + 1)..];
            bool onlyAdapted = modules.Where(m => m == last || m.EndsWith("." + last, StringComparison.Ordinal)).All(adapted.Contains);
            targets.Add(onlyAdapted ? last : path);
        }

        return [.. targets];
    }

    private static string ModuleOf(string path, LoraTarget target)
    {
        if (!path.EndsWith(".weight", StringComparison.Ordinal) || target.Form.Layout == LoraLayout.Other || target.Use.ArrayName != target.Use.Name)
            throw new QwixException($"The adapter for \"{path}\" ({target.Place}) cannot be written for PEFT, which knows those of the \"weight\" of linear layers and convolutions alone. Save the model's state dict instead.");
        return path[..^".weight".Length];
    }

    private static T MostCommon<T>(IEnumerable<T> values) => values.GroupBy(v => v).MaxBy(g => g.Count())!.Key;
}
