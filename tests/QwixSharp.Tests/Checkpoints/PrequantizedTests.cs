using QwixSharp.Arrays;
using QwixSharp.Checkpoints;
using QwixSharp.Numerics;
using QwixSharp.Providers;
using QwixSharp.Rules;
using QwixSharp.Tests.Golden;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Checkpoints;

/// <summary>Checkpoints that were quantized before, for quantized serving and in full precision.</summary>
public sealed class PrequantizedTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    public static TheoryData<string> Names => QuantizedModelCheckpointTests.Names;

    [Theory]
    [MemberData(nameof(Names))]
    public void InferredRulesGiveAModelThatTakesTheTensors(string scheme)
    {
        using var scope = NewDisposeScope();
        var input = randn(4, 64);
        using var checkpoint = Save(QuantizedModelCheckpointTests.Schemes[scheme], input, out var saved);
        // The rules that are stored would be too easy: with a transform they are inferred.
        var rules = Qwix.RestoreQuantizationRules(checkpoint, transform: CheckpointTransform.Rename("^$", ""), weightOnly: true);
        using var onMeta = Model(META);
        using var served = Qwix.QuantizeModel(onMeta, new PtqProvider(rules), input);
        var state = Qwix.ProcessPrequantizedParams(checkpoint, served, allowExtra: true);
        served.load_state_dict(state);
        Assert.Equal(saved.Weights.Keys.Order(), served.Weights.Keys.Order());
        foreach (var (name, weight) in saved.Weights)
        {
            Assert.Equal(weight.QType, served.Weights[name].QType);
            GoldenValue.AssertBits(name, weight.Codes, served.Weights[name].Codes);
            GoldenValue.AssertBits(name, weight.Scale, served.Weights[name].Scale);
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void InFullPrecisionTensorsAreDequantized(string scheme)
    {
        using var scope = NewDisposeScope();
        using var checkpoint = Save(QuantizedModelCheckpointTests.Schemes[scheme], randn(4, 64), out var saved);
        using var model = Model(CPU);
        model.load_state_dict(Qwix.ProcessPrequantizedParams(checkpoint, model, allowExtra: true));
        foreach (var (name, weight) in saved.Weights)
            GoldenValue.AssertBits(name, weight.Dequantize(), model.state_dict()[name]);
    }

    [Fact]
    public void StoredRulesAreGivenBackAndOthersInferredAsTheReferenceDoes()
    {
        using var scope = NewDisposeScope();
        using var checkpoint = Save([new() { WeightQType = "int4", ActQType = "int8", TileSize = 16, WeightCalibrationMethod = "rms,3" }], randn(4, 64), out _);
        var stored = Assert.Single(Qwix.RestoreQuantizationRules(checkpoint));
        Assert.Equal("rms,3", stored.WeightCalibrationMethod.ToString());
        Assert.Equal(QType.Int8, stored.ActQType);

        var inferred = Qwix.RestoreQuantizationRules(checkpoint, tileSize: 32);
        Assert.Equal(["first", "second"], inferred.Select(r => r.ModulePath));
        Assert.All(inferred, r => Assert.Equal((QType.Int4, QType.Int4, "32", "absmax"), (r.WeightQType, r.ActQType, r.TileSize!.ToString(), r.WeightCalibrationMethod.ToString())));
    }

    [Fact]
    public void LayersThatDifferInANumberShareARuleWhereTheyAreAlike()
    {
        Write(("layers.0.up.weight", CheckpointDtype.Int8, [1]), ("layers.1.up.weight", CheckpointDtype.Int8, [1]), ("layers.0.down.weight", CheckpointDtype.Int8, [1]), ("layers.1.down.weight", CheckpointDtype.Float8E4M3Fn, [4]), ("head+.weight", CheckpointDtype.Int16, [4]));
        using var checkpoint = Checkpoint.Open(_folder["bare.safetensors"]);
        var rules = Qwix.RestoreQuantizationRules(checkpoint);
        Assert.Equal(
            [@"head\+ int16 ", @"layers\.0\.down int8 ", @"layers\.1\.down float8_e4m3fn 2", @"layers\.[^.]+\.up int8 "],
            rules.Select(r => $"{r.ModulePath} {r.WeightQType} {(r.WeightQType == QType.Float8E4M3Fn ? r.TileSize : null)}").Order(StringComparer.Ordinal));
    }

    [Fact]
    public void BlocksOfTwoAxesBecomeScalesForEachChannel()
    {
        using var scope = NewDisposeScope();
        using var model = Sequential(("up", Linear(32, 64)));
        using var served = Qwix.QuantizeModel(model, new PtqProvider([new() { WeightQType = "fp8", TileSize = 16 }]), randn(2, 32));
        using var blocks = Qwix.Quantize(model.state_dict()["up.weight"], "fp8", tiledAxes: new Dictionary<int, TileSize> { [0] = 16, [1] = 16 });
        using (var writer = SafetensorsWriter.Create(_folder["m.safetensors"], [new("up.weight.qvalue", CheckpointDtype.Float8E4M3Fn, [64, 32]), new("up.weight.scale", CheckpointDtype.Float32, [4, 2])]))
        {
            writer.Write("up.weight.qvalue", blocks.Codes);
            writer.Write("up.weight.scale", blocks.Scale);
            writer.Complete();
        }

        using var checkpoint = Checkpoint.Open(_folder["m.safetensors"]);
        served.load_state_dict(Qwix.ProcessPrequantizedParams(checkpoint, served), strict: false);
        GoldenValue.AssertBits("values", blocks.Dequantize(), served.Weights["up.weight"].Dequantize());
    }

    [Theory]
    [InlineData("second", "int8", null, "is not quantized, but the model has QArray(int8")]
    [InlineData("first", "int8", 16, "RestoreQuantizationRules")]
    [InlineData("first", "int4", null, "RestoreQuantizationRules")]
    public void AModelThatIsQuantizedOtherwiseIsRefused(string path, string qtype, int? tile, string message)
    {
        using var scope = NewDisposeScope();
        using var checkpoint = Save([new() { ModulePath = "first", WeightQType = qtype == "int4" ? "int8" : "int4", TileSize = tile is null ? 32 : null }], randn(4, 64), out _);
        using var model = Model(CPU);
        using var served = Qwix.QuantizeModel(model, new PtqProvider([new() { ModulePath = path, WeightQType = qtype, TileSize = tile }]), randn(4, 64));
        Assert.Contains(message, Assert.Throws<CheckpointException>(() => Qwix.ProcessPrequantizedParams(checkpoint, served)).Message);
    }

    [Fact]
    public void AnAsymmetricTensorNeedsAnAsymmetricModelAndTheOtherWayRound()
    {
        using var scope = NewDisposeScope();
        QuantizationRule symmetric = new() { WeightQType = "int8" }, asymmetric = new() { WeightQType = "int8", WeightCalibrationMethod = "minmax" };
        foreach (var (stored, wanted) in new[] { (symmetric, asymmetric), (asymmetric, symmetric) })
        {
            using var checkpoint = Save([stored], randn(4, 64), out _);
            using var model = Model(CPU);
            using var served = Qwix.QuantizeModel(model, new PtqProvider([wanted]), randn(4, 64));
            Assert.Contains("does not fit the model", Assert.Throws<CheckpointException>(() => Qwix.ProcessPrequantizedParams(checkpoint, served)).Message);
        }
    }

    [Fact]
    public void ExtraTensorsAreRefusedUnlessAllowedAndNamesAreTransformed()
    {
        using var scope = NewDisposeScope();
        using var checkpoint = Save([new() { WeightQType = "int8" }], randn(4, 64), out _);
        using var wrapped = Sequential(("inner", Model(CPU)));
        Assert.Contains("\"first.bias\" is not a parameter", Assert.Throws<CheckpointException>(() => Qwix.ProcessPrequantizedParams(checkpoint, wrapped)).Message);
        Assert.Empty(Qwix.ProcessPrequantizedParams(checkpoint, wrapped, allowExtra: true));
        var state = Qwix.ProcessPrequantizedParams(checkpoint, wrapped, CheckpointTransform.AddPrefix("inner."));
        wrapped.load_state_dict(state);
        using var narrow = Sequential(("first", Linear(32, 96)));
        Assert.Contains("is [96, 32] in Sequential", Assert.Throws<CheckpointException>(() => Qwix.ProcessPrequantizedParams(checkpoint, narrow, allowExtra: true)).Message);
    }

    [Fact]
    public void ACheckpointWithoutQuantizedTensorsHasNoRules()
    {
        using (var writer = SafetensorsWriter.Create(_folder["p.safetensors"], [new("a", CheckpointDtype.Int8, [1])]))
        {
            writer.Write("a", [1]);
            writer.Complete();
        }

        using var checkpoint = Checkpoint.Open(_folder["p.safetensors"]);
        Assert.Contains("no quantized tensors", Assert.Throws<CheckpointException>(() => Qwix.RestoreQuantizationRules(checkpoint)).Message);
    }

    private Checkpoint Save(QuantizationRule[] rules, Tensor input, out QuantizedModule<Tensor, Tensor> saved)
    {
        saved = Qwix.QuantizeModel(Model(CPU), new PtqProvider(rules), input);
        Qwix.SaveQuantized(saved, _folder["model.safetensors"]);
        return Checkpoint.Open(_folder["model.safetensors"]);
    }

    /// <summary>Quantized tensors [4, 4] without a description, with scales for the last axis of the length given, or for rows.</summary>
    private void Write(params (string Name, CheckpointDtype Dtype, long[] Scales)[] tensors)
    {
        var entries = tensors.SelectMany(t => new TensorEntry[] { new(t.Name + ".qvalue", t.Dtype, [4, 4]), new(t.Name + ".scale", CheckpointDtype.Float32, [4, t.Dtype == CheckpointDtype.Float8E4M3Fn ? 2 : 1]) }).ToList();
        using var writer = SafetensorsWriter.Create(_folder["bare.safetensors"], entries);
        foreach (var entry in entries)
            writer.Write(entry.Name, new byte[entry.ByteLength]);
        writer.Complete();
    }

    private static Sequential Model(Device device)
    {
        var model = Sequential(("first", Linear(64, 96, device: device)), ("norm", BatchNorm1d(96, device: device)), ("second", Linear(96, 10, hasBias: false, device: device)));
        model.eval();
        return model;
    }
}
