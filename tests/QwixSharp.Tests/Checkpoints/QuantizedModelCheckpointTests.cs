using QwixSharp.Calibration;
using QwixSharp.Checkpoints;
using QwixSharp.Providers;
using QwixSharp.Rules;
using QwixSharp.Tests.Golden;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Checkpoints;

/// <summary>A quantized model that is saved, and loaded without its original weights.</summary>
public sealed class QuantizedModelCheckpointTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    /// <summary>Types of all ways of storing codes, with and without tiles, zero points and static scales.</summary>
    public static Dictionary<string, QuantizationRule[]> Schemes { get; } = new()
    {
        ["int1"] = [new() { WeightQType = "int1" }],
        ["int2"] = [new() { WeightQType = "int2" }],
        ["int3 tiles"] = [new() { WeightQType = "int3", TileSize = 8 }],
        ["int4 asymmetric"] = [new() { WeightQType = "int4", WeightCalibrationMethod = "minmax", TileSize = 0.5 }],
        ["int6"] = [new() { WeightQType = "int6" }],
        ["int8 rms"] = [new() { WeightQType = "int8", WeightCalibrationMethod = "rms,3" }],
        ["int16"] = [new() { WeightQType = "int16" }],
        ["fp8"] = [new() { WeightQType = "fp8" }],
        ["e5m2"] = [new() { WeightQType = "float8_e5m2" }],
        ["nf4"] = [new() { WeightQType = "nf4", TileSize = 16 }],
        ["mxfp4"] = [new() { WeightQType = "mxfp4", TileSize = 32, ModulePath = "first" }, new() { WeightQType = "mxfp8", TileSize = 32 }],
        ["int4 float16 scales"] = [new() { WeightQType = "int4", TileSize = 32, WeightScaleDtype = ScalarType.Float16 }],
        ["static"] = [new() { WeightQType = "int8", ActQType = "int8", ActStaticScale = true, ActCalibrationMethod = "minmax" }],
        ["partly"] = [new() { WeightQType = "int8", ModulePath = "second" }],
    };

    public static TheoryData<string> Names => [.. Schemes.Keys];

    public void Dispose() => _folder.Dispose();

    [Theory]
    [MemberData(nameof(Names))]
    public void AnAbstractModelThatIsLoadedEqualsTheOneThatWasSaved(string scheme)
    {
        using var scope = NewDisposeScope();
        using var real = Model(CPU);
        var input = randn(4, 64);
        using var saved = Qwix.QuantizeModel(real, new PtqProvider(Schemes[scheme]), input);
        var expected = saved.call(input);
        Qwix.SaveQuantized(saved, _folder["model.safetensors"]);
        Qwix.SaveQuantized(saved, _folder["folder"], maxShardSize: 2000);

        foreach (var path in new[] { "model.safetensors", "folder" })
        {
            using var onMeta = Model(META);
            using var loaded = Qwix.QuantizeModel(onMeta, new PtqProvider(Schemes[scheme]), input);
            Qwix.LoadQuantized(loaded, _folder[path]);
            Assert.Equal(saved.state_dict().Keys.Order(), loaded.state_dict().Keys.Order());
            foreach (var (name, tensor) in saved.state_dict())
                GoldenValue.AssertBits(name, tensor, loaded.state_dict()[name]);
            GoldenValue.AssertClose(expected, loaded.call(input), 1e-6);
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void TheFileSaysHowEachTensorIsQuantized(string scheme)
    {
        using var scope = NewDisposeScope();
        using var model = Model(CPU);
        using var saved = Qwix.QuantizeModel(model, new PtqProvider(Schemes[scheme]), randn(4, 64));
        Qwix.SaveQuantized(saved, _folder["model.safetensors"]);

        using var checkpoint = Checkpoint.Open(_folder["model.safetensors"]);
        Assert.Equal("qwix", checkpoint.Layout.Name);
        Assert.Equal(saved.Weights.Keys.Order(), checkpoint.LogicalTensors.Where(t => t.IsQuantized).Select(t => t.Name).Order());
        foreach (var tensor in checkpoint.LogicalTensors.Where(t => t.IsQuantized))
        {
            var weight = saved.Weights[tensor.Name];
            Assert.Equal(weight.QType, tensor.Quantization!.QType);
            Assert.Equal(weight.ScaleShape.ToArray(), tensor.Quantization.ScaleShape);
            Assert.Equal(weight.ZeroPoint is not null, tensor.Quantization.HasZeroPoint);
            Assert.Equal(weight.ByteSize, tensor.Stored.Sum(s => s.ByteLength));
            GoldenValue.AssertBits(tensor.Name, weight.Dequantize(), tensor.ReadFloat());
        }

        Assert.Equal(RuleJson.Write(Schemes[scheme]), RuleJson.Write(checkpoint.Layout.ReadRules(checkpoint)!));
    }

    [Fact]
    public void AModelThatGaveUpItsWeightsIsSavedAsItWas()
    {
        using var scope = NewDisposeScope();
        using var model = Model(CPU);
        using var saved = Qwix.QuantizeModel(model, new PtqProvider([new() { WeightQType = "int4", TileSize = 32 }]), randn(4, 64));
        Qwix.SaveQuantized(saved, _folder["before.safetensors"]);
        saved.ReleaseOriginalWeights();
        Qwix.SaveQuantized(saved, _folder["after.safetensors"]);
        Assert.Equal(File.ReadAllBytes(_folder["before.safetensors"]), File.ReadAllBytes(_folder["after.safetensors"]));
    }

    [Fact]
    public void StatisticsGoWithTheModel()
    {
        using var scope = NewDisposeScope();
        using var model = Model(CPU);
        using var stats = new QuantStats();
        var rules = Schemes["static"];
        using (var calibration = Qwix.QuantizeModel(model, new CalibrationProvider(rules, stats), randn(4, 64)))
            calibration.call(randn(4, 64));
        using var saved = Qwix.QuantizeModel(model, new PtqProvider(rules), randn(4, 64));
        Qwix.SaveQuantized(saved, _folder["model.safetensors"], stats);

        using var checkpoint = Checkpoint.Open(_folder["model.safetensors"]);
        using var read = Qwix.ReadQuantStats(checkpoint);
        Assert.Equal(stats.Places, read.Places);
        foreach (var (name, tensor) in stats.ToTensors())
            GoldenValue.AssertBits(name, tensor, read.ToTensors()[name]);
        Assert.DoesNotContain(checkpoint.LogicalTensors, t => t.Name.StartsWith("quant_stats", StringComparison.Ordinal));
        Qwix.LoadQuantized(saved, _folder["model.safetensors"]);
    }

    [Fact]
    public void OtherTypesOfTheSameSizeAreNotMistaken()
    {
        using var scope = NewDisposeScope();
        using var model = Model(CPU);
        using var nf4 = Qwix.QuantizeModel(model, new PtqProvider([new() { WeightQType = "nf4" }]), randn(4, 64));
        using var int4 = Qwix.QuantizeModel(model, new PtqProvider([new() { WeightQType = "int4" }]), randn(4, 64));
        Qwix.SaveQuantized(nf4, _folder["model.safetensors"]);
        var before = int4.Weights["first.weight"].Codes.clone();
        var error = Assert.Throws<CheckpointException>(() => Qwix.LoadQuantized(int4, _folder["model.safetensors"]));
        Assert.Contains("\"first.weight\" is nf4", error.Message);
        GoldenValue.AssertBits("codes", before, int4.Weights["first.weight"].Codes);
    }

    [Fact]
    public void AnAbstractModelHasNothingToSave()
    {
        using var scope = NewDisposeScope();
        using var model = Model(META);
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider([new() { WeightQType = "int8" }]), randn(4, 64));
        Assert.Contains("meta device", Assert.Throws<QwixException>(() => Qwix.SaveQuantized(quantized, _folder["m.safetensors"])).Message);
        Assert.Empty(_folder.Names);
    }

    [Theory]
    [InlineData("""{"format":2,"tensors":{}}""", "its format is 2")]
    [InlineData("""{"tensors":{}}""", "cannot be read")]
    [InlineData("""{"format":1,"tensors":{"w":{"qtype":"int9","shape":[4,8]}}}""", "int9")]
    [InlineData("""{"format":1,"tensors":{"w":{"qtype":"int8"}}}""", "cannot be read")]
    [InlineData("""{"format":1,"tensors":{"w":{"qtype":"int8","shape":[8,4]}}}""", "\"w.qvalue\" I8 [4, 8], but int8 for the shape [8, 4] needs")]
    [InlineData("""{"format":1,"tensors":{"w":{"qtype":"int4","shape":[4,8]}}}""", "\"w.qvalue\" I8 [4, 8], but int4")]
    [InlineData("""{"format":1,"tensors":{"w":{"qtype":"int8","shape":[-1,-4,8]}}}""", "no scale for the shape")]
    [InlineData("""{"format":1,"tensors":{"w":{"qtype":"int8","shape":[4,9]}}}""", "\"w.qvalue\"")]
    [InlineData("""{"format":1,"tensors":{"v":{"qtype":"int8","shape":[4,8]}}}""", "lacks \"v.qvalue\"")]
    [InlineData("""{"format":1,"rules":[{"tile":3}],"tensors":{}}""", "no such setting")]
    [InlineData("""[1""", "cannot be read")]
    public void MetadataThatLiesIsRefused(string json, string message)
    {
        using (var writer = SafetensorsWriter.Create(_folder["m.safetensors"], [new("w.qvalue", CheckpointDtype.Int8, [4, 8]), new("w.scale", CheckpointDtype.Float32, [4, 1])], new Dictionary<string, string> { ["qwix"] = json }))
        {
            writer.Write("w.qvalue", new byte[32]);
            writer.Write("w.scale", new byte[16]);
            writer.Complete();
        }

        using var checkpoint = Checkpoint.Open(_folder["m.safetensors"]);
        Assert.Contains(message, Assert.Throws<CheckpointException>(() => checkpoint.LogicalTensors.Count).Message);
    }

    [Fact]
    public void NothingIsLeftOfSavingAndLoading()
    {
        using var model = Model(CPU);
        using var input = randn(4, 64);
        using var quantized = Qwix.QuantizeModel(model, new PtqProvider(Schemes["static"]), input);
        Use();
        Use();
        long before = DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount;
        Use();
        Assert.Equal(before, DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount);

        void Use()
        {
            Qwix.SaveQuantized(quantized, _folder["m.safetensors"]);
            Qwix.LoadQuantized(quantized, _folder["m.safetensors"]);
        }
    }

    private static Sequential Model(Device device)
    {
        var model = Sequential(("first", Linear(64, 96, device: device)), ("norm", BatchNorm1d(96, device: device)), ("second", Linear(96, 10, hasBias: false, device: device)));
        model.eval();
        return model;
    }
}
