using System.Reflection;
using System.Runtime.Loader;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Syntax;

namespace QwixSharp.Tests.Docs;

/// <summary>Compiles and runs a snippet as the Program.cs of a project that references QwixSharp.</summary>
internal static class SnippetCompiler
{
    private static readonly CSharpParseOptions Language = new(LanguageVersion.CSharp14);

    /// <summary>The implicit usings of the SDK, the library's namespace, and the declared context.</summary>
    private static readonly SyntaxTree Usings = CSharpSyntaxTree.ParseText("""
        global using System;
        global using System.Collections.Generic;
        global using System.IO;
        global using System.Linq;
        global using System.Threading;
        global using System.Threading.Tasks;
        global using QwixSharp;
        global using TorchSharp;
        global using static QwixSharp.Tests.Docs.SnippetContext;
        """, Language);

    /// <summary>Everything the tests themselves can use: the framework, TorchSharp, TorchVision and QwixSharp.</summary>
    private static readonly MetadataReference[] References = ((string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!)
        .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
        .Select(MetadataReference (path) => MetadataReference.CreateFromFile(path))
        .ToArray();

    /// <summary>Compiles a snippet.</summary>
    /// <returns>The program, and the errors, placed in the page; one of the two is empty.</returns>
    public static (byte[] Program, IReadOnlyList<string> Errors) Compile(Snippet snippet)
    {
        var tree = CSharpSyntaxTree.ParseText(snippet.Code, Language);
        // A block that only declares types is no program.
        var kind = tree.GetCompilationUnitRoot().Members.OfType<GlobalStatementSyntax>().Any() ? OutputKind.ConsoleApplication : OutputKind.DynamicallyLinkedLibrary;
        var compilation = CSharpCompilation.Create(
            $"Snippet{Guid.NewGuid():N}", [Usings, tree], References,
            new CSharpCompilationOptions(kind, nullableContextOptions: NullableContextOptions.Enable, allowUnsafe: true));
        using var program = new MemoryStream();
        var result = compilation.Emit(program);
        return result.Success
            ? (program.ToArray(), [])
            : ([], [.. result.Diagnostics.Where(d => d.Severity == DiagnosticSeverity.Error).Select(d => $"{snippet.Page}:{snippet.Line + 1 + d.Location.GetLineSpan().StartLinePosition.Line}: {d.GetMessage()}")]);
    }

    /// <summary>Runs a compiled snippet.</summary>
    /// <exception cref="Exception">Whatever the snippet throws.</exception>
    public static void Run(byte[] program)
    {
        SnippetContext.Reset();
        var entry = AssemblyLoadContext.Default.LoadFromStream(new MemoryStream(program)).EntryPoint
            ?? throw new InvalidOperationException("The snippet has no statements to run.");
        object?[]? arguments = entry.GetParameters().Length == 0 ? null : [Array.Empty<string>()];
        entry.Invoke(null, BindingFlags.DoNotWrapExceptions, null, arguments, null);
    }
}
