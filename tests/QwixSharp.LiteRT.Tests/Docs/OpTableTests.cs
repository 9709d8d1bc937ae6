using System.Text.RegularExpressions;
using QwixSharp.LiteRT.Lowering;
using QwixSharp.Tests;

namespace QwixSharp.LiteRT.Tests.Docs;

[Trait("Category", "LiteRT")]
public sealed partial class OpTableTests
{
    [Fact]
    public void TheDocumentedOpsAreThoseThatCanBeExported()
    {
        var page = File.ReadAllText(Path.Combine(RepositoryFolder.Path, "docs/litert.md"));
        var table = page[page.IndexOf("## Ops", StringComparison.Ordinal)..].Split('\n').Where(l => l.StartsWith("| ", StringComparison.Ordinal)).Select(l => l.Split('|')[2]);
        var documented = table.SelectMany(cell => Code().Matches(cell)).Select(m => m.Groups[1].Value);
        Assert.Equal(OpTable.All.Keys.Order(), documented.Order());
    }

    [GeneratedRegex("`(\\w+)`")]
    private static partial Regex Code();
}
