using QwixSharp.Checkpoints;
using static TorchSharp.torch;

namespace QwixSharp.Tool.Tests;

public sealed class InspectAndCompareTests : IDisposable
{
    private readonly TinyCheckpoint _tiny = new();

    public void Dispose() => _tiny.Dispose();

    [Fact]
    public async Task TensorsAreListed()
    {
        var outcome = await Command.Succeed("inspect", _tiny.Path);
        Assert.Contains("layers.0.up.weight", outcome.Output);
        Assert.Contains("128 × 64", outcome.Output);
        Assert.Contains("5 tensors, 19,648 values, 78.6 kB", outcome.Output);
        Assert.DoesNotContain('\u001b', outcome.Output);
        var json = (await Command.Succeed("inspect", _tiny.Path, "--include", ".*bias", "--json")).Json;
        var only = Assert.Single(json.GetProperty("tensors").EnumerateArray());
        Assert.Equal(("layers.0.up.bias", "F32", 512), (only.GetProperty("name").GetString(), only.GetProperty("stored_as").GetString(), only.GetProperty("bytes").GetInt32()));
    }

    [Fact]
    public async Task QuantizedTensorsAreListedWholeOrInParts()
    {
        await Command.Succeed("quantize", _tiny.Path, _tiny["out"], "--weight-qtype", "int4", "--tile-size", "32", "--exclude", "embed");
        Assert.Contains("int4", (await Command.Succeed("inspect", _tiny["out"])).Output);
        Assert.Contains("layers.0.up.weight.qvalue", (await Command.Succeed("inspect", _tiny["out"], "--stored")).Output);
    }

    [Fact]
    public async Task FilesForDevicesAreOpenedToo()
    {
        using (var layer = TorchSharp.torch.nn.Linear(8, 4))
        using (var input = zeros(1, 8))
            LiteRT.LiteRtConverter.Convert(layer, input).Export(_tiny["m.tflite"]);
        Assert.Contains("FULLY_CONNECTED", (await Command.Succeed("inspect", _tiny["m.tflite"])).Output);
        var json = (await Command.Succeed("inspect", _tiny["m.tflite"], "--json")).Json;
        Assert.Equal("FULLY_CONNECTED", json.GetProperty("subgraphs")[0].GetProperty("operators")[0].GetProperty("name").GetString());
        File.WriteAllBytes(_tiny["broken.tflite"], [1, 2, 3]);
        await Command.Fail("broken.tflite", "inspect", _tiny["broken.tflite"]);
    }

    [Fact]
    public async Task ErrorsAreWhatTheyAre()
    {
        Write("a.safetensors", ("w", [1f, 2, 2, 0]), ("same", [3f]));
        Write("b.safetensors", ("w", [1f, 2, 2.3f, 0.4f]), ("same", [3f]));
        var json = (await Command.Succeed("compare", _tiny["a.safetensors"], _tiny["b.safetensors"], "--json")).Json;
        var w = json.GetProperty("tensors")[0];
        Assert.Equal("w", w.GetProperty("name").GetString());
        Assert.Equal(10 * Math.Log10(9 / 0.25), w.GetProperty("snr_db").GetDouble(), 1e-5);
        Assert.Equal(0.4, w.GetProperty("largest_error").GetDouble(), 1e-6);
        Assert.Equal(9.6 / Math.Sqrt(9 * 10.45), w.GetProperty("cosine").GetDouble(), 1e-6);
        Assert.Equal("Infinity", json.GetProperty("tensors")[1].GetProperty("snr_db").GetString());
    }

    [Theory]
    [InlineData(ExitCode.Success, "--min-snr", "15", "--max-error", "0.5", "--min-cosine", "0.9")]
    [InlineData(ExitCode.Different, "--min-snr", "16")]
    [InlineData(ExitCode.Different, "--max-error", "0.3")]
    [InlineData(ExitCode.Different, "--min-cosine", "0.999")]
    [InlineData(ExitCode.Success, "--min-snr", "16", "--exclude", "w")]
    public async Task ThresholdsDecideTheExitCode(int code, params string[] options)
    {
        Write("a.safetensors", ("w", [1f, 2, 2, 0]), ("same", [3f]));
        Write("b.safetensors", ("w", [1f, 2, 2.3f, 0.4f]), ("same", [3f]));
        Assert.Equal(code, (await Command.Run(["compare", _tiny["a.safetensors"], _tiny["b.safetensors"], .. options])).Code);
    }

    [Fact]
    public async Task WhatOnlyOneHasIsADifference()
    {
        Write("a.safetensors", ("w", [1f, 2]), ("extra", [1f]));
        Write("b.safetensors", ("w", [1f, 2]));
        Write("c.safetensors", ("w", [1f, 2, 3]));
        Write("d.safetensors", ("other", [1f]));
        Write("nan.safetensors", ("w", [1f, float.NaN]));
        var outcome = await Command.Run("compare", _tiny["a.safetensors"], _tiny["b.safetensors"]);
        Assert.Equal(ExitCode.Different, outcome.Code);
        Assert.Contains("extra", outcome.Output);
        Assert.Contains("of other shapes: w", (await Command.Run("compare", _tiny["b.safetensors"], _tiny["c.safetensors"])).Output);
        Assert.Equal(ExitCode.Different, (await Command.Run("compare", _tiny["b.safetensors"], _tiny["nan.safetensors"])).Code);
        await Command.Fail("no tensor of one name", "compare", _tiny["b.safetensors"], _tiny["d.safetensors"]);
    }

    private void Write(string file, params (string Name, float[] Values)[] tensors)
    {
        using var scope = NewDisposeScope();
        using var writer = SafetensorsWriter.Create(_tiny[file], tensors.Select(t => new TensorEntry(t.Name, CheckpointDtype.Float32, [t.Values.Length])));
        foreach (var (name, values) in tensors)
            writer.Write(name, tensor(values));
        writer.Complete();
    }
}
