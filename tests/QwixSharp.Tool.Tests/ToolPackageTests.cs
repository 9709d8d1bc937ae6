using System.Diagnostics;
using QwixSharp.Tests;
using QwixSharp.Tests.Checkpoints;
using QwixSharp.Tests.Packaging;

namespace QwixSharp.Tool.Tests;

public sealed class ToolPackageTests
{
    [Fact]
    [Trait("Category", "Packaging")]
    public async Task TheToolIsInstalledFromItsPackage()
    {
        using var folder = new TemporaryFolder();
        // The code is that of the build which these tests run from, and its analyzers have seen it.
        await DotnetCommand.Run(
            RepositoryFolder.Path, "pack", Path.Combine("src", "QwixSharp.Tool"), "-c", "Release", "-v", "quiet", "--artifacts-path", folder["artifacts"], "-o", folder["feed"], "-p:RunAnalyzers=false");
        Directory.Delete(folder["artifacts"], recursive: true);
        await DotnetCommand.Run(folder.Path, "tool", "install", "QwixSharp.Tool", "--tool-path", folder["tool"], "--add-source", folder["feed"]);
        using var tiny = new TinyCheckpoint();
        using var process = Process.Start(new ProcessStartInfo(Path.Combine(folder["tool"], "qwix"), ["quantize", tiny.Path, tiny["out"], "--weight-qtype", "int8"]) { RedirectStandardOutput = true })!;
        Assert.Contains("Quantized 3 of 5 tensors", await process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken));
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Equal(ExitCode.Success, process.ExitCode);
    }
}
