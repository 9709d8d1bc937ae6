using System.Text.Json;
using QwixSharp.Checkpoints;
using static TorchSharp.torch;

namespace QwixSharp.Tool.Tests;

public sealed class ConversionTests : IDisposable
{
    private readonly TinyCheckpoint _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Theory]
    [InlineData("int8", null, "compressed-tensors", double.PositiveInfinity)]
    [InlineData("int4", "32", "compressed-tensors", double.PositiveInfinity)]
    [InlineData("int4", "32", "gguf", 60)]
    [InlineData("int8", "32", "gguf", 60)]
    public async Task CodesAreTakenOver(string qtype, string? tile, string layout, double snr)
    {
        string[] tiles = tile is null ? [] : ["--tile-size", tile];
        await Command.Succeed(["quantize", _tiny.Path, _tiny["quantized"], "--weight-qtype", qtype, "--exclude", "embed", .. tiles]);
        await Command.Succeed("convert", _tiny["quantized"], _tiny["converted"], "--to", layout);
        var json = (await Command.Succeed("compare", _tiny["quantized"], _tiny["converted"], "--json")).Json;
        Assert.All(json.GetProperty("tensors").EnumerateArray(), t => Assert.True(Snr(t) >= snr, t.ToString()));
        using var converted = Checkpoint.Open(_tiny["converted"]);
        Assert.Equal(layout, converted.Layout.Name);
        Assert.Equal(2, converted.LogicalTensors.Count(t => t.IsQuantized));
    }

    [Fact]
    public async Task ALayoutComesBackToThisProjects()
    {
        await Command.Succeed("quantize", _tiny.Path, _tiny["quantized"], "--weight-qtype", "int8", "--act-qtype", "int8", "--exclude", "embed");
        await Command.Succeed("convert", _tiny["quantized"], _tiny["vllm"], "--to", "compressed-tensors");
        await Command.Succeed("convert", _tiny["vllm"], _tiny["back.safetensors"], "--to", "qwix");
        using var first = Checkpoint.Open(_tiny["quantized"]);
        using var back = Checkpoint.Open(_tiny["back.safetensors"]);
        foreach (var tensor in first.Tensors)
        {
            using var scope = NewDisposeScope();
            Assert.True(first.Read(tensor.Name).equal(back.Read(tensor.Name)).all().item<bool>(), tensor.Name);
        }
    }

    [Theory]
    [InlineData("f32", CheckpointDtype.Float32, double.PositiveInfinity)]
    [InlineData("bf16", CheckpointDtype.BFloat16, 50)]
    [InlineData("f16", CheckpointDtype.Float16, 70)]
    public async Task DequantizedIsPlain(string dtype, CheckpointDtype stored, double snr)
    {
        await Command.Succeed("quantize", _tiny.Path, _tiny["quantized"], "--weight-qtype", "int4", "--tile-size", "32");
        await Command.Succeed("dequantize", _tiny["quantized"], _tiny["plain"], "--dtype", dtype);
        using (var plain = Checkpoint.Open(_tiny["plain"]))
        {
            Assert.All(plain.Tensors, t => Assert.Equal(stored, t.Dtype));
            Assert.DoesNotContain(plain.LogicalTensors, t => t.IsQuantized);
        }

        var json = (await Command.Succeed("compare", _tiny["quantized"], _tiny["plain"], "--json")).Json;
        Assert.All(json.GetProperty("tensors").EnumerateArray(), t => Assert.True(Snr(t) >= snr, t.ToString()));
        Assert.Equal("""{"model_type":"tiny"}""", JsonSerializer.Serialize(JsonDocument.Parse(File.ReadAllText(Path.Combine(_tiny["plain"], "config.json")))));
    }

    [Fact]
    public async Task MatricesBecomeBlocks()
    {
        await Command.Succeed("convert", _tiny.Path, _tiny["q8.gguf"], "--to", "gguf", "--gguf-type", "q8_0");
        await Command.Succeed("convert", _tiny["q8.gguf"], _tiny["copy.gguf"], "--to", "gguf");
        using var written = Checkpoint.Open(_tiny["q8.gguf"]);
        Assert.Equal(["F32", "F32", "Q8_0", "Q8_0", "Q8_0"], written.Tensors.Select(t => t.TypeName).Order(StringComparer.Ordinal));
        Assert.Equal(ExitCode.Success, (await Command.Run("compare", _tiny.Path, _tiny["q8.gguf"], "--min-snr", "35")).Code);
        using var copy = Checkpoint.Open(_tiny["copy.gguf"]);
        Assert.All(written.Tensors, t => Assert.Equal(t.ToString(), copy.Entry(t.Name).ToString()));
    }

    [Fact]
    public async Task NothingQuantizedIsNoCompressedTensors()
    {
        await Command.Fail("Quantize it first", "convert", _tiny.Path, _tiny["out"], "--to", "compressed-tensors");
        await Command.Fail("is the input", "dequantize", _tiny.Path, _tiny.Path);
        Assert.Equal(ExitCode.Usage, (await Command.Run("convert", _tiny.Path, _tiny["out"], "--to", "onnx")).Code);
        Assert.Equal(ExitCode.Usage, (await Command.Run("convert", _tiny.Path, _tiny["out"], "--to", "qwix", "--gguf-type", "Q8_0")).Code);
        Assert.False(Path.Exists(_tiny["out"]));
    }

    private static double Snr(JsonElement tensor) =>
        tensor.GetProperty("snr_db") is { ValueKind: JsonValueKind.String } text ? double.Parse(text.GetString()!, System.Globalization.CultureInfo.InvariantCulture) : tensor.GetProperty("snr_db").GetDouble();
}
