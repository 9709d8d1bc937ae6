using System.Diagnostics;
using QwixSharp.Checkpoints;
using QwixSharp.Tests.Checkpoints;

namespace QwixSharp.Tool.Tests;

public sealed class InterruptionTests
{
    private const int Shards = 40;
    private static readonly long[] Shape = [1024, 2048];

    [Fact]
    public async Task CtrlCLeavesNothingHalfWrittenAndTheNextRunGoesOn()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "Ctrl-C cannot be sent to one process on Windows.");
        using var folder = new TemporaryFolder();
        WriteZeros(folder["model"]);
        string[] args = ["quantize", folder["model"], folder["out"], "--weight-qtype", "int4", "--tile-size", "32", "--threads", "1", "--max-shard-size", "2MB"];
        var start = new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, "qwix.dll"), .. args]) { RedirectStandardError = true, RedirectStandardOutput = true };
        using (var process = Process.Start(start)!)
        {
            var error = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
            while (!process.HasExited && !File.Exists(Path.Combine(folder["out.partial"], Shard(1))))
                await Task.Delay(1, TestContext.Current.CancellationToken);
            using (var kill = Process.Start("kill", ["-INT", $"{process.Id}"]))
                await kill.WaitForExitAsync(TestContext.Current.CancellationToken);
            await process.WaitForExitAsync(TestContext.Current.CancellationToken);
            Assert.SkipWhen(process.ExitCode == ExitCode.Success, "The machine was done before the signal came.");
            Assert.Equal(ExitCode.Interrupted, process.ExitCode);
            Assert.StartsWith("qwix: Stopped.", await error);
        }

        Assert.Equal(["model", "out.partial"], folder.Names);
        Assert.DoesNotContain(Directory.GetFiles(folder["out.partial"]), f => f.EndsWith(".tmp", StringComparison.Ordinal));
        var firstShard = File.GetLastWriteTimeUtc(Path.Combine(folder["out.partial"], Shard(1)));
        await Command.Succeed(args);
        Assert.Equal(["model", "out"], folder.Names);
        Assert.Equal(firstShard, File.GetLastWriteTimeUtc(Path.Combine(folder["out"], Shard(1))));
        using var written = Checkpoint.Open(folder["out"]);
        Assert.Equal(Shards, written.LogicalTensors.Count(t => t.IsQuantized));
    }

    private static string Shard(int number) => $"model-{number:D5}-of-{Shards:D5}.safetensors";

    private static void WriteZeros(string folder)
    {
        var zeros = new byte[1 << 20];
        using var writer = SafetensorsWriter.CreateFolder(folder, Enumerable.Range(0, Shards).Select(i => new TensorEntry($"l{i:D2}.weight", CheckpointDtype.BFloat16, Shape)));
        for (int i = 0; i < Shards; i++)
        {
            for (long offset = 0; offset < 2 * Shape[0] * Shape[1]; offset += zeros.Length)
                writer.Write($"l{i:D2}.weight", zeros, offset);
        }

        writer.Complete();
    }
}
