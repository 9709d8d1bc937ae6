using QwixSharp.Checkpoints;
using QwixSharp.Samples.Chat;
using QwixSharp.Tests.Golden;

namespace QwixSharp.Tests.LanguageModels;

/// <summary>
/// The model of the tests, read once: a GGUF file of the folder in QWIXSHARP_MODELS, else of shared/models beside the
/// repository.
/// </summary>
internal static class LanguageModel
{
    private static readonly Lazy<string?> FoundPath = new(Find);

    private static readonly Lazy<LlamaFile> Loaded = new(() => LlamaFile.Load(FoundPath.Value!));

    /// <summary>Why there is no model; null where there is one.</summary>
    public static string? WhyMissing => FoundPath.Value is null ? $"No folder has the model that the golden family llm is about ({Folder}). Set QWIXSHARP_MODELS." : null;

    public static string Path => FoundPath.Value!;

    /// <summary>The model in float32; it is shared, so that no test may change it.</summary>
    public static LlamaFile File => Loaded.Value;

    private static string Folder => Environment.GetEnvironmentVariable("QWIXSHARP_MODELS") is { Length: > 0 } named ? named : System.IO.Path.Combine(RepositoryFolder.Path, "../shared/models");

    /// <summary>The file whose name inside is the one that the golden family gives; any, where there is no family.</summary>
    private static string? Find()
    {
        if (!Directory.Exists(Folder))
            return null;
        var name = LlmGolden.TryLoad()?.ModelName;
        return Directory.EnumerateFiles(Folder, "*.gguf").Order(StringComparer.Ordinal).FirstOrDefault(path =>
        {
            using var file = Checkpoint.Open(path);
            return name is null || file.Metadata.GetValueOrDefault("general.name") == name;
        });
    }
}

/// <summary>Tests that hold the model or use both cores for long run one after the other.</summary>
[CollectionDefinition(Name)]
public sealed class LanguageModelCollection
{
    public const string Name = "A language model";
}
