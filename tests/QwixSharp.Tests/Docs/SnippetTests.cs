namespace QwixSharp.Tests.Docs;

/// <summary>The C# in the documentation is what the library really takes.</summary>
public class SnippetTests
{
    private static readonly IReadOnlyList<Snippet> All = Snippet.InRepository();

    public static IEnumerable<TheoryDataRow<string, int>> Snippets => All.Select(snippet =>
        new TheoryDataRow<string, int>(snippet.Page, snippet.Line) { Skip = snippet.Use == SnippetUse.Skip ? snippet.Reason : null });

    [Theory]
    [MemberData(nameof(Snippets))]
    public void Works(string page, int line)
    {
        var snippet = All.Single(snippet => snippet.Page == page && snippet.Line == line);

        var (program, errors) = SnippetCompiler.Compile(snippet);

        Assert.True(errors.Count == 0, string.Join(Environment.NewLine, errors));
        if (snippet.Use == SnippetUse.Run) SnippetCompiler.Run(program);
    }

    [Fact]
    public void ReadmeShowsCodeThatRuns() => Assert.Contains(All, snippet => snippet is { Page: "README.md", Use: SnippetUse.Run });

    [Fact]
    public void BlocksAreFoundWithTheirUse()
    {
        var snippets = Snippet.InPage("page.md", """
            # Title
            ```bash
            dotnet test
            ```
            ```csharp
            var a = 1;
            ```
            ```csharp run
            var b = 2;

            Console.WriteLine(b);
            ```
            ````csharp no-compile shows a mistake
            var c = ;
            ```
            ````
            """);

        Assert.Equal(
            [
                new Snippet("page.md", 5, SnippetUse.Compile, "", "var a = 1;\n"),
                new Snippet("page.md", 8, SnippetUse.Run, "", "var b = 2;\n\nConsole.WriteLine(b);\n"),
                new Snippet("page.md", 13, SnippetUse.Skip, "shows a mistake", "var c = ;\n```\n"),
            ],
            snippets);
    }

    [Theory]
    [InlineData("no-compile")]
    [InlineData("norun")]
    [InlineData("run twice")]
    public void UnknownOrUnexplainedUsesAreRefused(string words)
    {
        var error = Assert.Throws<FormatException>(() => Snippet.InPage("page.md", $"\n```csharp {words}\nvar a = 1;\n```\n"));

        Assert.StartsWith("page.md:2:", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ErrorsAreToldWithTheirLineInThePage()
    {
        var (_, errors) = SnippetCompiler.Compile(new Snippet("page.md", 10, SnippetUse.Compile, "", "var a = 1;\nvar b = a.NoSuchMember;\n"));

        Assert.StartsWith("page.md:12: ", Assert.Single(errors), StringComparison.Ordinal);
    }

    [Fact]
    public void DeclarationsAloneCompileAndAnOwnModelHidesTheDeclaredOne()
    {
        Assert.Empty(Errors("class Net : torch.nn.Module<torch.Tensor, torch.Tensor>\n{\n    public Net() : base(nameof(Net)) { }\n    public override torch.Tensor forward(torch.Tensor x) => x.alias();\n}\n"));
        Assert.Empty(Errors("int model = 3;\nConsole.WriteLine(model + 1);\n"));
        Assert.Empty(Errors("using static TorchSharp.torch;\nusing Tensor y = model.call(input);\n"));
    }

    [Fact]
    public void WhatARunThrowsIsSeen()
    {
        var (program, _) = SnippetCompiler.Compile(new Snippet("page.md", 1, SnippetUse.Run, "", "await Task.Yield();\nthrow new QwixException(\"as thrown\");\n"));

        Assert.Equal("as thrown", Assert.Throws<QwixException>(() => SnippetCompiler.Run(program)).Message);
    }

    private static IReadOnlyList<string> Errors(string code) =>
        SnippetCompiler.Compile(new Snippet("page.md", 1, SnippetUse.Compile, "", code)).Errors;
}
