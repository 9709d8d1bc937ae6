using System.Text.RegularExpressions;

namespace QwixSharp.Tests.Docs;

/// <summary>What the tests do with a block of C# in the documentation; CONTRIBUTING.md explains the words.</summary>
public enum SnippetUse
{
    /// <summary>No word: the block is compiled.</summary>
    Compile,

    /// <summary><c>run</c>: it is also run.</summary>
    Run,

    /// <summary><c>no-compile</c> and a reason: it is left alone.</summary>
    Skip,
}

/// <summary>A block of C# in a page of the documentation.</summary>
/// <param name="Page">The page's path in the repository.</param>
/// <param name="Line">The line of the block's fence, from 1.</param>
/// <param name="Use">What to do with it.</param>
/// <param name="Reason">Why it is not compiled; empty otherwise.</param>
/// <param name="Code">Its text.</param>
internal sealed partial record Snippet(string Page, int Line, SnippetUse Use, string Reason, string Code)
{
    /// <summary>All blocks of README.md and of the pages in docs/.</summary>
    public static IReadOnlyList<Snippet> InRepository()
    {
        var docs = Path.Combine(RepositoryFolder.Path, "docs");
        return Directory.EnumerateFiles(docs, "*.md", SearchOption.AllDirectories).Order()
            .Prepend(Path.Combine(RepositoryFolder.Path, "README.md"))
            .SelectMany(file => InPage(Path.GetRelativePath(RepositoryFolder.Path, file), File.ReadAllText(file)))
            .ToArray();
    }

    /// <summary>The blocks of a page that are fenced as C#.</summary>
    /// <exception cref="FormatException">A fence has a word that means nothing, or leaves a block out without a reason.</exception>
    public static IReadOnlyList<Snippet> InPage(string page, string markdown)
    {
        var snippets = new List<Snippet>();
        foreach (Match match in Fence().Matches(markdown.ReplaceLineEndings("\n")))
        {
            var line = markdown.ReplaceLineEndings("\n").AsSpan(0, match.Index).Count('\n') + 1;
            var words = match.Groups["words"].Value.Trim().Split(' ', 2, StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
            var reason = words.Length > 1 ? words[1] : "";
            var use = words.FirstOrDefault() switch
            {
                null => SnippetUse.Compile,
                "run" when reason == "" => SnippetUse.Run,
                "no-compile" when reason != "" => SnippetUse.Skip,
                "no-compile" => throw new FormatException($"{page}:{line}: say after no-compile why the block cannot be compiled."),
                _ => throw new FormatException($"{page}:{line}: '{string.Join(' ', words)}' is neither nothing, nor run, nor no-compile with a reason."),
            };
            snippets.Add(new Snippet(page, line, use, reason, match.Groups["code"].Value));
        }
        return snippets;
    }

    [GeneratedRegex(@"^(?<fence>```+)(?:csharp|cs|c\#)\b(?<words>[^\n]*)\n(?<code>.*?)^\k<fence>[ ]*$", RegexOptions.Multiline | RegexOptions.Singleline | RegexOptions.IgnoreCase)]
    private static partial Regex Fence();
}
