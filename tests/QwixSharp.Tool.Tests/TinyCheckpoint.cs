using QwixSharp.Checkpoints;
using QwixSharp.Tests.Checkpoints;
using static TorchSharp.torch;

namespace QwixSharp.Tool.Tests;

/// <summary>A folder with a small floating-point checkpoint, as Hugging Face writes it.</summary>
internal sealed class TinyCheckpoint : IDisposable
{
    private static readonly (string Name, long[] Shape)[] Tensors = [
        ("embed.weight", [48, 64]), ("layers.0.up.weight", [128, 64]), ("layers.0.up.bias", [128]), ("layers.0.down.weight", [64, 128]), ("norm.weight", [64])];

    private readonly TemporaryFolder _folder = new();

    public TinyCheckpoint()
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(7);
        using var writer = SafetensorsWriter.CreateFolder(Path, Tensors.Select(t => new TensorEntry(t.Name, CheckpointDtype.Float32, t.Shape)));
        foreach (var (name, shape) in Tensors)
            writer.Write(name, randn(shape, generator: generator));
        writer.Complete();
        File.WriteAllText(System.IO.Path.Combine(Path, "config.json"), """{"model_type": "tiny", "quantization_config": {"quant_method": "none"}}""");
        File.WriteAllText(System.IO.Path.Combine(Path, "tokenizer.json"), "{}");
    }

    /// <summary>The checkpoint.</summary>
    public string Path => Directory.CreateDirectory(_folder["model"]).FullName;

    /// <summary>A path beside it.</summary>
    public string this[string name] => _folder[name];

    /// <summary>Everything that is in the folder around it.</summary>
    public string[] Names => _folder.Names;

    public void Dispose() => _folder.Dispose();
}
