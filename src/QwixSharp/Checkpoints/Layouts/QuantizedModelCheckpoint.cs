using QwixSharp.Arrays;
using QwixSharp.Calibration;
using QwixSharp.Providers;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Layouts;

/// <summary>Saves what a quantized model holds in this project's layout, and loads it.</summary>
internal static class QuantizedModelCheckpoint
{
    internal static void Save(IQuantizedModel model, string path, QuantStats? quantStats, long maxShardSize)
    {
        var module = model as nn.Module ?? throw new ArgumentException("The model must come from Qwix.QuantizeModel.", nameof(model));
        var weights = model.Weights;
        var parts = weights.SelectMany(w => new[] { w.Key + QwixEntries.QValue, w.Key + QwixEntries.Scale, w.Key + QwixEntries.ZeroPoint }).ToHashSet(StringComparer.Ordinal);
        var plain = module.state_dict().Where(s => !parts.Contains(s.Key)).ToList();
        using var scope = NewDisposeScope();
        var stats = quantStats?.ToTensors().Select(t => KeyValuePair.Create(QwixEntries.QuantStats + t.Key, t.Value)).ToList() ?? [];
        RefuseAbstract(weights, plain);
        var state = Core(model).State;
        var known = state.Weights.All.ToDictionary(w => w.Key, w => w.Value);
        var scaleDtypes = known.ToDictionary(w => w.Key, w => w.Value.FindScaleDtype());

        var entries = weights.SelectMany(w => Entries(w.Key, w.Value, scaleDtypes[w.Key])).Concat(plain.Concat(stats).Select(p => TensorEntry.Of(p.Key, p.Value)));
        var manifest = new QwixManifest(
            [.. state.Providers.SelectMany(p => p.Rules)],
            weights.ToDictionary(w => w.Key, w => new QwixTensorInfo(w.Value.QType, w.Value.Shape.ToArray(), w.Value.TiledAxes(), known[w.Key].How.Calibration, scaleDtypes[w.Key] == w.Value.Dtype ? null : w.Value.Dtype)));
        var metadata = new Dictionary<string, string> { ["format"] = "pt", [QwixManifest.Key] = manifest.ToJson() };
        using var writer = path.EndsWith(".safetensors", StringComparison.OrdinalIgnoreCase)
            ? SafetensorsWriter.Create(path, entries, metadata)
            : SafetensorsWriter.CreateFolder(path, entries, metadata, maxShardSize);
        foreach (var (name, array) in weights)
        {
            QwixEntries.Write(writer, name, array, scaleDtypes[name]);
            // What only a kernel's form held before is not held twice from now on.
            if (state.IsReleased(known[name].Use))
                array.Compact();
        }

        foreach (var (name, tensor) in plain.Concat(stats))
            writer.Write(name, tensor);
        writer.Complete();
    }

    internal static void Load(IQuantizedModel model, Checkpoint checkpoint)
    {
        var module = model as nn.Module ?? throw new ArgumentException("The model must come from Qwix.QuantizeModel.", nameof(model));
        if (checkpoint.Layout.Name != QwixLayout.LayoutName)
            throw new CheckpointException($"{CheckpointException.Quote(checkpoint.Path)} has the layout {checkpoint.Layout.Name}, and not that of Qwix.SaveQuantized. Load it with Qwix.ProcessPrequantizedParams.");
        foreach (var tensor in checkpoint.LogicalTensors.Where(t => t.IsQuantized))
        {
            // Types of few bits are all stored in bytes: a state dict could not tell one from another.
            if (model.Weights.TryGetValue(tensor.Name, out var weight) && weight.QType != tensor.Quantization!.QType)
                throw new CheckpointException($"Tensor {CheckpointException.Quote(tensor.Name)} is {tensor.Quantization.QType} in {CheckpointException.Quote(checkpoint.Path)}, but {weight.QType} in the model. Quantize the model with the rules of the checkpoint: Qwix.RestoreQuantizationRules.");
        }

        using var scope = NewDisposeScope();
        module.load_state_dict(checkpoint.Tensors
            .Where(t => !t.Name.StartsWith(QwixEntries.QuantStats, StringComparison.Ordinal))
            .ToDictionary(t => t.Name, t => checkpoint.Read(t.Name)));
    }

    internal static QuantStats ReadQuantStats(Checkpoint checkpoint)
    {
        using var scope = NewDisposeScope();
        return QuantStats.FromTensors(checkpoint.Tensors
            .Where(t => t.Name.StartsWith(QwixEntries.QuantStats, StringComparison.Ordinal))
            .ToDictionary(t => t.Name[QwixEntries.QuantStats.Length..], t => checkpoint.Read(t.Name)));
    }

    private static IReadOnlyList<TensorEntry> Entries(string name, QArray array, ScalarType scaleDtype) =>
        QwixEntries.Of(name, array.QType, array.Shape, array.ScaleShape, scaleDtype, array.ZeroPoint is not null);

    private static void RefuseAbstract(IReadOnlyDictionary<string, QArray> weights, IEnumerable<KeyValuePair<string, Tensor>> plain)
    {
        if (weights.Where(w => w.Value.Device.type == DeviceType.META).Select(w => w.Key).Concat(plain.Where(p => p.Value.device_type == DeviceType.META).Select(p => p.Key)).FirstOrDefault() is { } name)
            throw new QwixException($"\"{name}\" is on the meta device and has no values that could be saved. Load the model's state first.");
    }

    private static Providers.Models.QuantizedCore Core(IQuantizedModel model) => ((IHasCore)model).Core;
}
