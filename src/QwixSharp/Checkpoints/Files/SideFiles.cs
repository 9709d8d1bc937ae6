using System.Text.Json;
using System.Text.Json.Nodes;

namespace QwixSharp.Checkpoints.Files;

/// <summary>What stands beside the tensors in the folder of a checkpoint: configuration, tokenizer, licence.</summary>
internal static class SideFiles
{
    private const string Config = "config.json";
    private static readonly string[] Patterns = ["*.json", "*.txt", "*.model", "*.jinja", "*.md", "LICENSE*"];
    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };

    /// <summary>Copies them to another folder; what the configuration says of quantization is left out.</summary>
    /// <param name="source">The checkpoint; one that is a single file has none.</param>
    /// <param name="folder">Where they go.</param>
    /// <param name="withConfig">Whether the configuration is among them.</param>
    internal static void Copy(Checkpoint source, string folder, bool withConfig = true)
    {
        if (!Directory.Exists(source.Path))
            return;
        FileErrors.Guard($"Cannot write to {CheckpointException.Quote(folder)}", () =>
        {
            foreach (var file in Patterns.SelectMany(p => Directory.GetFiles(source.Path, p)).Where(f => !f.EndsWith(".index.json", StringComparison.Ordinal)))
            {
                var name = Path.GetFileName(file);
                if (name != Config)
                    CopyContent(file, Path.Combine(folder, name));
                else if (withConfig)
                    CopyConfig(file, Path.Combine(folder, name));
            }
        });
    }

    private static void CopyConfig(string file, string target)
    {
        if (JsonNode.Parse(File.ReadAllText(file)) is JsonObject config && config.Remove("quantization_config"))
            File.WriteAllText(target, config.ToJsonString(Indented));
        else
            CopyContent(file, target);
    }

    /// <summary>Copies what a file holds, not its permissions: the copy of a read-only file can be replaced.</summary>
    private static void CopyContent(string file, string target)
    {
        using var from = File.OpenRead(file);
        using var to = File.Create(target);
        from.CopyTo(to);
    }
}
