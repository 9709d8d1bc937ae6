namespace QwixSharp.Tool.Tests;

public sealed class CommandLineTests
{
    private static readonly string[] Commands = ["quantize", "inspect", "compare", "report", "dequantize", "convert", "sensitivity", "completion"];

    [Fact]
    public async Task HelpNamesCommandsAndExitCodes()
    {
        var outcome = await Command.Succeed("--help");
        Assert.All(Commands, c => Assert.Contains(c, outcome.Output));
        Assert.Contains("130  stopped by Ctrl-C", outcome.Output);
    }

    [Theory]
    [InlineData("quantize")]
    [InlineData("inspect")]
    [InlineData("compare")]
    [InlineData("report")]
    [InlineData("dequantize")]
    [InlineData("convert")]
    [InlineData("sensitivity")]
    [InlineData("completion")]
    public async Task EveryCommandHasExamples(string command)
    {
        var outcome = await Command.Succeed(command, "--help");
        Assert.Contains("--json", outcome.Output);
        Assert.Contains("Examples:", outcome.Output);
        Assert.Contains($"  qwix {command}", outcome.Output.Replace("source <(qwix", "  qwix", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("frobnicate")]
    [InlineData("inspect")]
    [InlineData("compare", "a", "b", "--min-snr", "much")]
    [InlineData("compare", "a", "b", "--include", "(")]
    [InlineData("sensitivity", "a", "--target-size", "small")]
    public async Task AWrongCommandLineIsToldFromAFailure(params string[] args)
    {
        var outcome = await Command.Run(args);
        Assert.Equal(ExitCode.Usage, outcome.Code);
        Assert.NotEqual("", outcome.Error);
    }

    [Fact]
    public async Task WordsAreCompleted()
    {
        Assert.Contains("inspect", (await Command.Succeed("[suggest:7]", "qwix in")).Output);
        Assert.Contains("compressed-tensors", (await Command.Succeed("[suggest:22]", "qwix convert a b --to ")).Output);
        foreach (string shell in (string[])["bash", "zsh", "pwsh"])
            Assert.Contains("[suggest:", (await Command.Succeed("completion", shell)).Output);
    }

    [Fact]
    public async Task ErrorsAreOneLine()
    {
        await Command.Fail("no-such-file", "inspect", "no-such-file.safetensors");
        var json = await Command.Run("inspect", "no-such-file.safetensors", "--json");
        Assert.Equal(ExitCode.Failure, json.Code);
        Assert.Contains("no-such-file", json.Json.GetProperty("error").GetString());
    }

    [Theory]
    [InlineData("300MB", 300_000_000)]
    [InlineData("1.5 gb", 1_500_000_000)]
    [InlineData("17", 17)]
    [InlineData("", null)]
    [InlineData("MB", null)]
    [InlineData("-3MB", null)]
    [InlineData("1e9", null)]
    public void SizesAreRead(string text, int? bytes) => Assert.Equal(bytes, Output.ByteSize.TryParse(text));
}
