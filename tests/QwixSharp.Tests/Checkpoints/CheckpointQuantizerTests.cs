using QwixSharp.Checkpoints;
using QwixSharp.Providers;
using QwixSharp.Rules;
using QwixSharp.Tests.Golden;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Checkpoints;

/// <summary>A checkpoint is quantized without its model to what its model would be quantized to.</summary>
public sealed class CheckpointQuantizerTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public static TheoryData<string, string> Cases => new()
    {
        { "Float32", """[{"weight_qtype":"int8"}]""" },
        { "BFloat16", """[{"weight_qtype":"int8"}]""" },
        { "BFloat16", """[{"weight_qtype":"int4","tile_size":32}]""" },
        { "BFloat16", """[{"weight_qtype":"int3","tile_size":16}]""" },
        { "Float32", """[{"weight_qtype":"int4","tile_size":32,"weight_scale_dtype":"float16"}]""" },
        { "BFloat16", """[{"weight_qtype":"int4","tile_size":32,"weight_scale_dtype":"float16"}]""" },
        { "Float16", """[{"weight_qtype":"nf4","tile_size":32}]""" },
        { "Float32", """[{"weight_qtype":"int4","weight_calibration_method":"minmax"}]""" },
        { "Float32", """[{"weight_qtype":"int8","weight_calibration_method":"fixed,1"}]""" },
        { "Float32", """[{"weight_qtype":"int8","weight_calibration_method":"fixed,-1,2"}]""" },
        { "Float32", """[{"weight_qtype":"fp8","tile_size":{"0":32,"1":16}}]""" },
        { "BFloat16", """[{"module_path":"first","weight_qtype":"mxfp4","tile_size":32},{"module_path":"second"},{"weight_qtype":"int2"}]""" },
    };

    public void Dispose() => _folder.Dispose();

    [Theory]
    [MemberData(nameof(Cases))]
    public void TheResultIsWhatQuantizeParamsGives(string dtype, string rules)
    {
        using var scope = NewDisposeScope();
        using var model = Model(Enum.Parse<ScalarType>(dtype));
        using var source = SaveFloat(model);
        var parsed = RuleJson.Parse(rules);
        new CheckpointQuantizer(parsed) { MaxShardSize = 500_000 }.Run(source, _folder["out"], cancellation: TestContext.Current.CancellationToken);
        new CheckpointQuantizer(parsed).Verify(source, _folder["out"], cancellation: TestContext.Current.CancellationToken);

        using var quantized = Qwix.QuantizeModel(model, new PtqProvider(parsed), randn(2, 512, dtype: Enum.Parse<ScalarType>(dtype)));
        using var result = Checkpoint.Open(_folder["out"]);
        var expected = Qwix.QuantizeParams(model.state_dict(), quantized);
        Assert.Equal(expected.Keys.Order(), result.Tensors.Select(t => t.Name).Order());
        foreach (var (name, tensor) in expected)
        {
            // Scales that were rounded are stored in the smaller dtype.
            bool isRounded = name.EndsWith(".scale", StringComparison.Ordinal) && parsed[^1].WeightScaleDtype is not null;
            GoldenValue.AssertBits(name, tensor, isRounded ? result.Read(name).to(tensor.dtype) : result.Read(name));
            Assert.True(!isRounded || result.Entry(name).Dtype == CheckpointDtype.Float16);
        }

        Qwix.LoadQuantized(quantized, _folder["out"]);
        Assert.Equal(RuleJson.Write(parsed), RuleJson.Write(result.Layout.ReadRules(result)!));
    }

    [Fact]
    public void ThePlanTellsWhatEachRuleDoesAndTheSizesAreThoseOfTheFiles()
    {
        TensorEntry[] entries =
        [
            new("embed_tokens.weight", CheckpointDtype.BFloat16, [64, 32]),
            new("layers.0.proj.weight", CheckpointDtype.BFloat16, [32, 32]),
            new("layers.0.norm.weight", CheckpointDtype.BFloat16, [32]),
            new("layers.0.proj.bias", CheckpointDtype.BFloat16, [4, 8]),
            new("conv.weight", CheckpointDtype.Float32, [8, 4, 3, 3]),
            new("head.weight", CheckpointDtype.BFloat16, [16, 32]),
            new("ids.weight", CheckpointDtype.Int64, [4, 4]),
        ];
        using var source = Zeros(entries);
        var plan = new CheckpointQuantizer([new() { ModulePath = "head" }, new() { OpNames = [OpNames.DotGeneral], WeightQType = "int4", TileSize = 16 }, new() { OpNames = [OpNames.ConvGeneralDilated], WeightQType = "int8", TileSize = 7 }]).Plan(source);
        Assert.Equal(
            ["conv.weight: int8 [8, 1, 1, 1]", "embed_tokens.weight: no rule", "head.weight: left alone by its rule", "ids.weight: I64 is not quantized", "layers.0.norm.weight: 1 axes", "layers.0.proj.bias: no weight", "layers.0.proj.weight: int4 [32, 2]"],
            plan.Tensors.Select(t => $"{t.Tensor.Name}: {(t.Quantization is { } q ? $"{q.QType} [{string.Join(", ", q.ScaleShape)}]" : t.Reason)}").Order(StringComparer.Ordinal));
        Assert.Equal(source.Tensors.Sum(t => t.ByteLength), plan.BytesBefore);
        var proj = plan.Tensors.Single(t => t.Tensor.Name == "layers.0.proj.weight");
        Assert.Equal((32 * 32 * 2, (32 * 16) + (32 * 2 * 2)), (proj.BytesBefore, proj.BytesAfter));
    }

    [Fact]
    public void AnInterruptedRunGoesOnAfterTheLastWholeShard()
    {
        using var scope = NewDisposeScope();
        using var source = SaveFloat(Model(ScalarType.BFloat16));
        var quantizer = new CheckpointQuantizer([new() { WeightQType = "int8" }]) { MaxShardSize = 100_000, Threads = 1 };
        quantizer.Run(source, _folder["whole"], cancellation: TestContext.Current.CancellationToken);
        using (var cancel = new CancellationTokenSource())
        {
            var stop = new Progress(p => { if (p.BytesDone > p.BytesTotal * 0.9) cancel.Cancel(); });
            Assert.ThrowsAny<OperationCanceledException>(() => quantizer.Run(source, _folder["out"], stop, cancel.Token));
        }

        Assert.False(Directory.Exists(_folder["out"]));
        string[] done = [.. Directory.GetFiles(_folder["out.partial"], "*", new EnumerationOptions { AttributesToSkip = 0 }).Select(f => Path.GetFileName(f)).Order()];
        Assert.DoesNotContain(done, f => f.EndsWith(".tmp", StringComparison.Ordinal));
        string[] shards = [.. done.Where(f => f.EndsWith(".safetensors", StringComparison.Ordinal))];
        Assert.True(shards.Length >= 2, string.Join(", ", done));
        var written = Times("out.partial");

        quantizer.Run(source, _folder["out"], cancellation: TestContext.Current.CancellationToken);
        Assert.Equal(written, Times("out"));
        Assert.Equal(Content("whole"), Content("out"));
        Assert.Contains("config.json", Directory.GetFiles(_folder["out"]).Select(Path.GetFileName));
        Assert.False(Directory.Exists(_folder["out.partial"]));

        DateTime[] Times(string folder) => [.. shards.Select(s => File.GetLastWriteTimeUtc(Path.Combine(_folder[folder], s)))];
        string[] Content(string folder) => [.. Directory.GetFiles(_folder[folder]).Order(StringComparer.Ordinal).Select(f => Path.GetFileName(f) + Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(File.ReadAllBytes(f))))];
    }

    [Fact]
    public void WhatIsLeftOfAnotherSourceOrPlanIsNotTaken()
    {
        using var scope = NewDisposeScope();
        using var source = SaveFloat(Model(ScalarType.BFloat16));
        var quantizer = new CheckpointQuantizer([new() { WeightQType = "int8" }]);
        Directory.CreateDirectory(_folder["out.partial"]);
        File.WriteAllText(_folder["out.partial/model-00009-of-00009.safetensors"], "stale");
        File.WriteAllText(_folder["out.partial/source.txt"], "other");
        quantizer.Run(source, _folder["out"], cancellation: TestContext.Current.CancellationToken);
        Assert.Equal(["config.json", "model.safetensors"], Directory.GetFiles(_folder["out"]).Select(Path.GetFileName).Order());
        quantizer.Verify(source, _folder["out"], cancellation: TestContext.Current.CancellationToken);
    }

    [Fact]
    public void AFileThatWasChangedIsFoundOut()
    {
        using var scope = NewDisposeScope();
        using var source = SaveFloat(Model(ScalarType.Float32));
        var quantizer = new CheckpointQuantizer([new() { WeightQType = "int8" }]);
        quantizer.Run(source, _folder["out.safetensors"], cancellation: TestContext.Current.CancellationToken);
        quantizer.Verify(source, _folder["out.safetensors"], cancellation: TestContext.Current.CancellationToken);
        var bytes = File.ReadAllBytes(_folder["out.safetensors"]);
        bytes[^3] ^= 1;
        File.WriteAllBytes(_folder["out.safetensors"], bytes);
        Assert.Contains("is not what quantizing", Assert.Throws<CheckpointException>(() => quantizer.Verify(source, _folder["out.safetensors"], cancellation: TestContext.Current.CancellationToken)).Message);
        Assert.Contains("should have the tensor", Assert.Throws<CheckpointException>(() => new CheckpointQuantizer([new() { WeightQType = "int16" }]).Verify(source, _folder["out.safetensors"], cancellation: TestContext.Current.CancellationToken)).Message);
    }

    [Fact]
    public void WhatCannotBeDoneIsRefusedAndLeavesNothing()
    {
        using var scope = NewDisposeScope();
        using var model = Model(ScalarType.Float32);
        using var source = SaveFloat(model);
        var quantizer = new CheckpointQuantizer([new() { WeightQType = "int8" }]);
        Assert.Contains("is the input", Refused(quantizer, source, _folder["float"]));
        Assert.Contains("is the input", Refused(quantizer, source, _folder["float/model.safetensors"]));
        Directory.CreateDirectory(_folder["full"]);
        File.WriteAllText(_folder["full/a"], "");
        Assert.Contains("is there already", Refused(quantizer, source, _folder["full"]));
        Assert.Contains("is there already", Refused(quantizer, source, _folder["full/a"]));
        Assert.Contains("\"first.weight\"", Refused(new CheckpointQuantizer([new() { WeightQType = "int8", TileSize = 7 }]), source, _folder["out"]));
        quantizer.Run(source, _folder["quantized"], cancellation: TestContext.Current.CancellationToken);
        using (var twice = Checkpoint.Open(_folder["quantized"]))
            Assert.Contains("quantized already", Refused(quantizer, twice, _folder["out"]));
        Assert.Throws<RuleException>(() => new CheckpointQuantizer([new() { ModulePath = "(" }]));
        Assert.Equal(["float", "full", "quantized"], _folder.Names);
    }

    [Theory]
    [InlineData("absmax", float.NaN)]
    [InlineData("minmax", float.NegativeInfinity)]
    [InlineData("fixed,1", float.NaN)]
    public void WeightsThatAreNotFiniteAreRefused(string calibration, float value)
    {
        using var scope = NewDisposeScope();
        using var model = Model(ScalarType.Float32);
        using (no_grad())
            model.state_dict()["second.weight"][3, 5] = value;
        using var source = SaveFloat(model);
        var quantizer = new CheckpointQuantizer([new() { WeightQType = "int8", WeightCalibrationMethod = calibration }]);
        Assert.Contains("\"second.weight\"", Refused(quantizer, source, _folder["out.safetensors"]));
        Assert.Equal(["float"], _folder.Names);
    }

    [Fact]
    public void ScalesMayBeComputedInFloat32()
    {
        using var scope = NewDisposeScope();
        using var model = Model(ScalarType.BFloat16);
        using var source = SaveFloat(model);
        new CheckpointQuantizer([new() { WeightQType = "int8" }]) { ComputeDtype = ScalarType.Float32 }.Run(source, _folder["out.safetensors"], cancellation: TestContext.Current.CancellationToken);
        using var result = Checkpoint.Open(_folder["out.safetensors"]);
        using var expected = Qwix.Quantize(model.state_dict()["first.weight"].to(ScalarType.Float32), "int8", [0]);
        GoldenValue.AssertBits("codes", expected.Codes, result.Read("first.weight.qvalue"));
        GoldenValue.AssertBits("scale", expected.Scale, result.Read("first.weight.scale"));
    }

    private static string Refused(CheckpointQuantizer quantizer, Checkpoint source, string target) =>
        Assert.Throws<CheckpointException>(() => quantizer.Run(source, target, cancellation: TestContext.Current.CancellationToken)).Message;

    private Checkpoint Zeros(TensorEntry[] entries)
    {
        using (var writer = SafetensorsWriter.Create(_folder["zeros.safetensors"], entries))
        {
            foreach (var entry in entries)
                writer.Write(entry.Name, new byte[entry.ByteLength]);
            writer.Complete();
        }

        return Checkpoint.Open(_folder["zeros.safetensors"]);
    }

    private Checkpoint SaveFloat(Module model)
    {
        var state = model.state_dict();
        using (var writer = SafetensorsWriter.CreateFolder(_folder["float"], state.Select(s => TensorEntry.Of(s.Key, s.Value))))
        {
            foreach (var (name, tensor) in state)
                writer.Write(name, tensor);
            writer.Complete();
        }

        File.WriteAllText(_folder["float/config.json"], "{}");
        return Checkpoint.Open(_folder["float"]);
    }

    /// <summary>Of more than one chunk, with rows that no chunk is a multiple of.</summary>
    private static Sequential Model(ScalarType dtype)
    {
        var model = Sequential(("first", Linear(512, 4800, dtype: dtype)), ("second", Linear(4800, 96, hasBias: false, dtype: dtype)), ("third", Linear(96, 32, dtype: dtype)));
        model.eval();
        return model;
    }

    private sealed class Progress(Action<CheckpointProgress> report) : IProgress<CheckpointProgress>
    {
        public void Report(CheckpointProgress value) => report(value);
    }
}
