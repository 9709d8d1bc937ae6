using QwixSharp.Tests.Golden;

namespace QwixSharp.Tests.Checkpoints;

/// <summary>The checkpoints of other libraries among the golden results, a folder each.</summary>
internal static class FormatFolders
{
    public static string Folder(string name) => Path.Combine(GoldenFolder.Root, "formats", name);

    /// <summary>A row a folder whose name fits; one skipped row where there is none.</summary>
    public static IEnumerable<TheoryDataRow<string>> Rows(Func<string, bool> fits)
    {
        var root = Path.Combine(GoldenFolder.Root, "formats");
        string[] names = Directory.Exists(root) ? [.. Directory.GetDirectories(root).Select(d => Path.GetFileName(d)).Where(fits).Order(StringComparer.Ordinal)] : [];
        return names.Length > 0 ? names.Select(n => new TheoryDataRow<string>(n)) : [new TheoryDataRow<string>("none") { Skip = $"{root} has no such folder." }];
    }
}
