using System.Diagnostics;

namespace QwixSharp.Tests;

/// <summary>Tests that need environment variables which are read once a process.</summary>
internal static class OwnProcess
{
    /// <summary>Runs an explicit test, which must pass, and gives what was printed on standard error.</summary>
    /// <param name="of">The class of the test.</param>
    /// <param name="test">Its name.</param>
    /// <param name="variables">Environment variables; null removes one.</param>
    public static async Task<string> Run(Type of, string test, Dictionary<string, string?> variables)
    {
        var start = new ProcessStartInfo("dotnet", [typeof(OwnProcess).Assembly.Location, "-method", $"{of.FullName}.{test}", "-explicit", "only"]) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var (name, value) in variables)
            start.Environment[name] = value;
        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        var errors = await process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.True(process.ExitCode == 0 && (await output).Contains("Total: 1"), $"{await output}\n{errors}");
        return errors;
    }
}
