using QwixSharp.Arrays;
using QwixSharp.Checkpoints;
using QwixSharp.Checkpoints.Gguf;
using QwixSharp.Kernels;
using QwixSharp.Ops;
using QwixSharp.Providers;
using QwixSharp.Rules;
using QwixSharp.Tests.Checkpoints;
using QwixSharp.Tests.Golden;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Arrays;

/// <summary>Scales of weights that are rounded to 16 bits, from the rule to the kernels' memory and to files.</summary>
public sealed class ScaleDtypeTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("Float16")]
    [InlineData("BFloat16")]
    public void CodesAreThoseOfTheRoundedScale(string dtypeName)
    {
        using var scope = NewDisposeScope();
        var dtype = Enum.Parse<ScalarType>(dtypeName);
        var x = randn(8, 64);
        using var array = Quantizer.Quantize(x, How("int4") with { ScaleDtype = dtype });
        Assert.Equal(ScalarType.Float32, array.Dtype);
        float[] values = [.. x.data<float>()], scales = [.. array.Scale.data<float>()];
        sbyte[] codes = [.. array.GetQValue().data<sbyte>()];
        for (int i = 0; i < values.Length; i++)
        {
            float absMax = values.AsSpan(i / 32 * 32, 32).ToArray().Max(MathF.Abs), plain = absMax / 7.5f;
            float scale = scales[i / 32];
            Assert.Equal(dtype == ScalarType.Float16 ? (float)(Half)plain : RoundToBFloat16(plain), scale);
            Assert.Equal(Math.Clamp(MathF.Round(values[i] / scale), -8, 7), codes[i]);
        }

        static float RoundToBFloat16(float value)
        {
            uint bits = BitConverter.SingleToUInt32Bits(value);
            return BitConverter.UInt32BitsToSingle((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000);
        }
    }

    [Fact]
    public void AnAsymmetricZeroPointFitsTheRoundedScale()
    {
        using var scope = NewDisposeScope();
        var x = rand(4, 32) * 3 + 1;
        using var array = Quantizer.Quantize(x, How("int4") with { Calibration = "minmax", ScaleDtype = ScalarType.Float16 });
        Assert.True((array.Dequantize() - x).abs().max().item<float>() <= 0.51f * array.Scale.max().item<float>());
    }

    [Fact]
    public void ScalesBeyondFloat16AreRefusedAndThoseBelowItAreItsSmallest()
    {
        using var scope = NewDisposeScope();
        var x = ones(1, 96);
        x[0, ..32] *= 3e-8f;
        x[0, 32..64] *= 0;
        var how = How("int4") with { ScaleDtype = ScalarType.Float16 };
        using (var array = Quantizer.Quantize(x, how))
        {
            Assert.Equal([MathF.ScaleB(1, -24), 1, (float)(Half)(1 / 7.5f)], array.Scale.data<float>().ToArray());
            Assert.Equal(1, array.GetQValue()[0, 0].item<sbyte>());
        }

        var message = Assert.Throws<ArgumentException>(() => Quantizer.Quantize(x * 1e6f, how)).Message;
        Assert.Contains("WeightScaleDtype", message);
        Assert.Contains("1.333E+05", message);
        Quantizer.Quantize(x * 1e6f, how with { ScaleDtype = ScalarType.BFloat16 }).Dispose();

        using var layer = Linear(96, 1);
        layer.weight = new Parameter(x * 1e6f, requires_grad: false);
        var error = Assert.Throws<QwixException>(() => Qwix.QuantizeModel(layer, new PtqProvider([Rule]), randn(2, 96)));
        Assert.Contains("Parameter \"weight\"", error.Message);
        Assert.Contains("BFloat16 as WeightScaleDtype", error.Message);
    }

    [Theory]
    [InlineData("int4", 32, null, "Float16")]
    [InlineData("int4", 32, "int8", "Float16")]
    [InlineData("int4", 64, "int8", "BFloat16")]
    [InlineData("int8", 128, "int8", "Float16")]
    [InlineData("nf4", 32, null, "Float16")]
    [InlineData("fp8", 32, null, "BFloat16")]
    public void AModelThatGaveUpItsWeightsHoldsScalesInSixteenBits(string qtype, int tile, string? act, string dtype)
    {
        using var scope = NewDisposeScope();
        var rule = new QuantizationRule { WeightQType = qtype, TileSize = tile, ActQType = act, WeightScaleDtype = Enum.Parse<ScalarType>(dtype) };
        using var layer = Linear(256, 48);
        var weight = layer.weight!.detach().clone();
        // Smaller scales than float16 holds, or it would be the format of bfloat16 scales too.
        if (dtype == "BFloat16")
            weight[0] *= 1e-8f;
        layer.weight = new Parameter(weight.clone());
        var input = randn(4, 256);
        using var quantized = Qwix.QuantizeModel(layer, new PtqProvider([rule]), input);
        var expected = quantized.call(input);
        quantized.ReleaseOriginalWeights();
        var array = quantized.Weights["weight"];
        Assert.Equal(Enum.Parse<FloatFormat>(dtype), array.FindKernelForm<PackedForm>()!.Weight.ScaleFormat);
        Assert.Equal((48 * 256 * array.QType.StorageBits / 8) + (48 * 256 / tile * 2), array.ByteSize);
        GoldenValue.AssertBits("result", expected, quantized.call(input));

        using var again = Quantizer.Quantize(weight, new HowToQuantize { QType = qtype, ChannelwiseAxes = [0], TiledAxes = new Dictionary<int, TileSize> { [1] = tile }, ScaleDtype = rule.WeightScaleDtype });
        var state = quantized.state_dict();
        GoldenValue.AssertBits("codes", again.Codes, state["weight.qvalue"]);
        GoldenValue.AssertBits("scales", again.Scale, state["weight.scale"]);
    }

    [Fact]
    public void ScalesThatFit16BitsTakeNoMoreWithoutBeingTold()
    {
        using var scope = NewDisposeScope();
        using var blocks = Quantizer.Quantize(randn(16, 64), How("int4") with { ScaleDtype = ScalarType.Float16 });
        using var layer = Linear(64, 16, hasBias: false);
        using var quantized = Qwix.QuantizeModel(layer, new PtqProvider([Rule with { WeightScaleDtype = null }]), randn(1, 64));
        quantized.load_state_dict(new() { ["weight.qvalue"] = blocks.Codes, ["weight.scale"] = blocks.Scale });
        var input = randn(3, 64);
        GoldenValue.AssertClose(functional.linear(input, blocks.Dequantize()), quantized.call(input), 1e-5);
        Assert.Equal(FloatFormat.Float16, quantized.Weights["weight"].FindKernelForm<PackedForm>()!.Weight.ScaleFormat);
    }

    [Fact]
    public void BlocksOfGgufTakeTheCodesAndScalesAsTheyAre()
    {
        using var scope = NewDisposeScope();
        using var array = Quantizer.Quantize(randn(6, 64), How("int4") with { ScaleDtype = ScalarType.Float16 });
        using (var writer = new GgufWriter(_folder["a.gguf"], [], [("w", GgufTensorType.Q4_0, array.Shape.ToArray())]))
        {
            writer.Write("w", array);
            writer.Complete();
        }

        using var file = Checkpoint.Open(_folder["a.gguf"]);
        using var read = file.LogicalTensors.Single().ReadQuantized();
        GoldenValue.AssertBits("codes", array.Codes, read.Codes);
        GoldenValue.AssertBits("scales", array.Scale, read.Scale.to(ScalarType.Float32));
    }

    [Fact]
    public void FilesHaveScalesInSixteenBits()
    {
        using var scope = NewDisposeScope();
        using var layer = Linear(64, 16);
        using var saved = Qwix.QuantizeModel(layer, new PtqProvider([Rule]), randn(1, 64));
        Qwix.SaveQuantized(saved, _folder["a.safetensors"]);
        using (var file = Checkpoint.Open(_folder["a.safetensors"]))
        {
            Assert.Equal(CheckpointDtype.Float16, file.Entry("weight.scale").Dtype);
            var tensor = file.LogicalTensors.Single(t => t.Name == "weight");
            GoldenValue.AssertBits("values", saved.Weights["weight"].Dequantize(), tensor.ReadFloat());
        }

        // Other scales were loaded since: the file must not round them.
        var state = saved.state_dict().ToDictionary(s => s.Key, s => s.Value.clone());
        state["weight.scale"] *= 1.0001f;
        saved.load_state_dict(state);
        Qwix.SaveQuantized(saved, _folder["b.safetensors"]);
        using var other = Checkpoint.Open(_folder["b.safetensors"]);
        Assert.Equal(CheckpointDtype.Float32, other.Entry("weight.scale").Dtype);
    }

    [Fact]
    public void RulesThatCannotRoundScalesAreRefused()
    {
        Refused(() => new PtqProvider([Rule with { WeightScaleDtype = ScalarType.Float32 }]), "Float16 or BFloat16");
        Refused(() => new PtqProvider([Rule with { WeightQType = "mxfp4" }]), "mxfp4");
        Refused(() => new QtProvider([new QtRule { WeightQType = "int4", WeightScaleDtype = ScalarType.Float16 }]), "PtqProvider");
        Refused(() => new OdmlQatProvider([new() { WeightQType = "int8", WeightScaleDtype = ScalarType.Float16 }]), "WeightScaleDtype");

        static void Refused(Func<object> make, string part)
        {
            var message = Assert.Throws<RuleException>(make).Message;
            Assert.Contains("WeightScaleDtype", message);
            Assert.Contains(part, message);
        }
    }

    private static QuantizationRule Rule => new() { WeightQType = "int4", TileSize = 32, WeightScaleDtype = ScalarType.Float16 };

    private static HowToQuantize How(string qtype) => new() { QType = qtype, ChannelwiseAxes = [0], TiledAxes = new Dictionary<int, TileSize> { [1] = 32 } };
}
