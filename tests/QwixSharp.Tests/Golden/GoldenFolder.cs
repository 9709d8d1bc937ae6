using System.Text.Json;

namespace QwixSharp.Tests.Golden;

/// <summary>
/// The folder of reference results: the one in QWIXSHARP_GOLDEN, else shared/golden beside the repository, else the
/// subset that is committed with the tests.
/// </summary>
internal static class GoldenFolder
{
    public static string Root { get; } = Find();

    public static string? TryFile(string name) => File.Exists(Path.Combine(Root, name)) ? Path.Combine(Root, name) : null;

    private static string Find()
    {
        var named = Environment.GetEnvironmentVariable("QWIXSHARP_GOLDEN");
        if (!string.IsNullOrEmpty(named))
            return Directory.Exists(named) ? named : throw new DirectoryNotFoundException($"QWIXSHARP_GOLDEN names {named}, which is not a folder.");
        var shared = Path.Combine(RepositoryFolder.Path, "../shared/golden");
        return Directory.Exists(shared) ? shared : Path.Combine(RepositoryFolder.Path, "tests/golden");
    }
}

/// <summary>One family of cases: a manifest and its tensors.</summary>
internal sealed class GoldenFamily
{
    private static readonly Dictionary<string, GoldenFamily?> Loaded = [];

    private GoldenFamily(string name, string manifest)
    {
        Name = name;
        Manifest = JsonDocument.Parse(File.ReadAllText(manifest)).RootElement;
        Tensors = new SafetensorsFile(Path.ChangeExtension(manifest, ".safetensors"));
    }

    public string Name { get; }

    public JsonElement Manifest { get; }

    public SafetensorsFile Tensors { get; }

    /// <summary>The family, or null where the folder does not hold it.</summary>
    public static GoldenFamily? TryLoad(string name)
    {
        lock (Loaded)
        {
            if (!Loaded.TryGetValue(name, out var family))
                Loaded[name] = family = GoldenFolder.TryFile(name + ".json") is { } file ? new GoldenFamily(name, file) : null;
            return family;
        }
    }

    public static GoldenFamily Load(string name) => TryLoad(name) ?? throw new FileNotFoundException($"{GoldenFolder.Root} has no {name}.json.");

    public JsonElement Case(string name) => Manifest.GetProperty("cases").EnumerateArray().Single(c => c.GetProperty("name").GetString() == name);

    /// <summary>A row a case, named by it; one skipped row with its reason where the family is missing.</summary>
    public static IEnumerable<TheoryDataRow<string>> Rows(string family)
    {
        if (TryLoad(family) is not { } loaded)
            return [new TheoryDataRow<string>("none") { Skip = $"{GoldenFolder.Root} has no family {family}." }];
        return loaded.Manifest.GetProperty("cases").EnumerateArray().Select(c => Row(family, c.GetProperty("name").GetString()!));
    }

    /// <summary>A row a refusal of the reference, by its position.</summary>
    public static IEnumerable<TheoryDataRow<int>> Refusals(string family)
    {
        if (TryLoad(family) is not { } loaded || loaded.Manifest.GetProperty("refused_by_reference").GetArrayLength() == 0)
            return [new TheoryDataRow<int>(-1) { Skip = $"The family {family} in {GoldenFolder.Root} holds no refusals." }];
        return Enumerable.Range(0, loaded.Manifest.GetProperty("refused_by_reference").GetArrayLength()).Select(i => new TheoryDataRow<int>(i));
    }

    /// <summary>A refusal of the reference, and any case of the same model, which gives shapes to try the rules on; skips where there is none.</summary>
    public (JsonElement Refused, JsonElement Sibling) Refusal(int index)
    {
        var refused = Manifest.GetProperty("refused_by_reference")[index];
        var model = refused.GetProperty("model").GetString()!;
        var sibling = Manifest.GetProperty("cases").EnumerateArray().FirstOrDefault(c => c.GetProperty("model").GetString() == model);
        Assert.SkipWhen(sibling.ValueKind == JsonValueKind.Undefined, $"The folder has no case of the model {model}, whose shapes this refusal needs.");
        return (refused, sibling);
    }

    /// <summary>Where the reference refuses for a limit of numbers, what is tried must be refused here too, in words that name it.</summary>
    /// <returns>Whether it is such a limit; else the reference's reason is one that does not hold here.</returns>
    public static bool IsRefusedHereToo(JsonElement refused, Func<object?> attempt)
    {
        var message = refused.GetProperty("message").GetString()!;
        if (!message.Contains("cannot be tiled") && !message.Contains("asymmetric"))
            return false;
        var error = Assert.ThrowsAny<QwixException>(attempt);
        Assert.True(error.Message.Contains("tile") || error.Message.Contains("zero point"), error.Message);
        return true;
    }

    private static TheoryDataRow<string> Row(string family, string name)
    {
        var row = new TheoryDataRow<string>(name);
        if (GoldenExceptions.ReasonFor(family, name) is { } reason)
            row.Skip = reason;
        return row;
    }
}

/// <summary>Cases that miss their rule for a reason that is ours to defend: tests/golden/exceptions.json.</summary>
internal static class GoldenExceptions
{
    private static readonly Dictionary<string, string> Reasons = Load();

    public static string? ReasonFor(string family, string name) => Reasons.GetValueOrDefault($"{family}/{name}");

    private static Dictionary<string, string> Load()
    {
        var file = Path.Combine(RepositoryFolder.Path, "tests/golden/exceptions.json");
        return File.Exists(file) ? JsonSerializer.Deserialize<Dictionary<string, string>>(File.ReadAllText(file))! : [];
    }
}
