using System.Diagnostics;
using System.Text.RegularExpressions;
using QwixSharp.Tests.Checkpoints;

namespace QwixSharp.Tool.Tests;

public sealed class ReportTests
{
    private static readonly string[] Browsers = ["chromium", "chromium-browser", "google-chrome"];

    [Fact]
    public async Task ThePageSaysAllOfEveryTensorAndNeedsNothingElse()
    {
        using var tiny = new TinyCheckpoint();
        string page = await Write(tiny);
        Assert.All(["embed.weight", "layers.0.up.weight", "layers.0.down.weight", "norm.weight"], name => Assert.Contains(name, page));
        Assert.True(page.IndexOf("layers.0", StringComparison.Ordinal) < page.IndexOf("norm.weight", StringComparison.Ordinal), "What changed comes first.");
        Assert.Equal(3, Regex.Count(page, "<figure>"));
        Assert.DoesNotMatch("""(src|href)=|https?:|@import|\{\{""", page);
    }

    [Fact]
    public async Task NamesCannotBreakThePage()
    {
        using var folder = new TemporaryFolder();
        using (var ones = TorchSharp.torch.ones(2, 2))
        using (var writer = Checkpoints.SafetensorsWriter.Create(folder["a.safetensors"], [new("<script>&", Checkpoints.CheckpointDtype.Float32, [2, 2])]))
        {
            writer.Write("<script>&", ones);
            writer.Complete();
        }

        await Command.Succeed("report", folder["a.safetensors"], folder["a.safetensors"], "-o", folder["r.html"]);
        Assert.DoesNotContain("<script>", File.ReadAllText(folder["r.html"]));
    }

    [Fact]
    public async Task ABrowserShowsThePage()
    {
        var browser = Browsers.Select(Find).FirstOrDefault(b => b is not null);
        Assert.SkipWhen(browser is null, $"None of {string.Join(", ", Browsers)} is installed.");
        using var tiny = new TinyCheckpoint();
        await Write(tiny);
        string picture = tiny["page.png"];
        var start = new ProcessStartInfo(browser!, ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1000,1600", $"--user-data-dir={tiny["profile"]}", $"--screenshot={picture}", new Uri(tiny["report.html"]).AbsoluteUri])
        {
            RedirectStandardError = true,
            RedirectStandardOutput = true,
        };
        using var process = Process.Start(start)!;
        var error = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(2));
        await process.WaitForExitAsync(limit.Token);
        Assert.True(File.Exists(picture), await error);
        var (width, height, colours) = Picture.Look(picture);
        Assert.Equal((1000, 1600), (width, height));
        // The bar of a bad layer, the histogram before, its outline after.
        Assert.All([0xC92A2Au, 0x9DB2CFu, 0xD9480Fu], colour => Assert.True(colours.GetValueOrDefault(colour) > 100, $"Too little of {colour:X6}."));
    }

    private static async Task<string> Write(TinyCheckpoint tiny)
    {
        await Command.Succeed("quantize", tiny.Path, tiny["out"], "--weight-qtype", "int2", "--tile-size", "64");
        await Command.Succeed("report", tiny.Path, tiny["out"], "-o", tiny["report.html"]);
        return File.ReadAllText(tiny["report.html"]);
    }

    private static string? Find(string program) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator).Select(folder => Path.Combine(folder, program)).FirstOrDefault(File.Exists);
}
