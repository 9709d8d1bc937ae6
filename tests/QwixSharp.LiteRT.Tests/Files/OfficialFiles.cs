using System.Text.Json;
using QwixSharp.Tests.Golden;

namespace QwixSharp.LiteRT.Tests.Files;

/// <summary>The files of the official converter among the reference results.</summary>
internal static class OfficialFiles
{
    public static string Folder { get; } = Path.Combine(GoldenFolder.Root, "tflite");

    public static IReadOnlyList<JsonElement> All { get; } = File.Exists(Path.Combine(Folder, "index.json"))
        ? [.. JsonDocument.Parse(File.ReadAllText(Path.Combine(Folder, "index.json"))).RootElement.EnumerateArray()]
        : [];

    public static JsonElement Entry(string file) => All.Single(e => e.GetProperty("file").GetString() == file);

    public static string PathOf(string file) => Path.Combine(Folder, file);

    public static IEnumerable<TheoryDataRow<string>> Rows() => All.Count == 0
        ? [new TheoryDataRow<string>("none") { Skip = $"{GoldenFolder.Root} has no folder tflite." }]
        : All.Select(e => new TheoryDataRow<string>(e.GetProperty("file").GetString()!));
}
