using QwixSharp.Arrays;
using QwixSharp.Checkpoints;
using QwixSharp.Tests.Golden;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Checkpoints;

/// <summary>Transforms give the same numbers whether a tensor is quantized or not, and say beforehand what shapes come.</summary>
public sealed class CheckpointTransformTests
{
    private static readonly string[] Qkv = ["*.q.weight", "*.k.weight", "*.v.weight"];

    /// <summary>Ways to quantize [12, 8], as channelwise axes and tiles.</summary>
    public static TheoryData<string, string> Ways => new()
    {
        { "int8", "" }, { "int8", "channel" }, { "int4", "tile" }, { "int4", "block" }, { "int4", "minmax" }, { "fp8", "block" }, { "nf4", "tile" }, { "int2", "channel" },
    };

    [Theory]
    [MemberData(nameof(Ways))]
    public void FusedTensorsHaveTheValuesOfTheirParts(string qtype, string way)
    {
        using var scope = NewDisposeScope();
        long[] lengths = [8, 4, 12];
        foreach (int axis in new[] { 0, 1 })
        {
            var parts = lengths.Select((n, i) => new Memory($"l.0.{"qkv"[i]}.weight", Quantize(axis == 0 ? randn(n, 8) : randn(8, n), qtype, way))).ToList();
            var fused = Assert.Single(CheckpointTransform.Fuse(Qkv, "*.qkv.weight", axis).Apply(parts));
            Assert.Equal("l.0.qkv.weight", fused.Name);
            AssertSame(cat([.. parts.Select(p => p.Array.Dequantize())], axis), fused);
        }
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public void PartsOfATensorHaveItsValues(string qtype, string way)
    {
        using var scope = NewDisposeScope();
        foreach (int axis in new[] { 0, 1 })
        {
            var whole = new Memory("l.0.qkv.weight", Quantize(randn(24, 24), qtype, way));
            var even = CheckpointTransform.Split("*.qkv.weight", Qkv, axis: axis).Apply([whole]);
            var uneven = CheckpointTransform.Split("*.qkv.weight", Qkv, [3, 9, 12], axis).Apply([whole]);
            foreach (var parts in new[] { even, uneven })
            {
                long start = 0;
                foreach (var part in parts)
                {
                    AssertSame(whole.Array.Dequantize().narrow(axis, start, part.Shape[axis]), part);
                    start += part.Shape[axis];
                }

                Assert.Equal(24, start);
            }

            AssertSame(whole.Array.Dequantize(), Assert.Single(CheckpointTransform.Split("*.qkv.weight", Qkv, [3, 9, 12], axis).Then(CheckpointTransform.Fuse(Qkv, "*.qkv.weight", axis)).Apply([whole])));
        }
    }

    [Theory]
    [MemberData(nameof(Ways))]
    public void TransposedTensorsHaveTheValuesOfTheirSource(string qtype, string way)
    {
        using var scope = NewDisposeScope();
        var source = new Memory("h.0.c_fc.weight", Quantize(randn(16, 24), qtype, way));
        AssertSame(source.Array.Dequantize().t(), Assert.Single(CheckpointTransform.Transpose("*.weight").Apply([source])));
    }

    [Fact]
    public void NamesAreStrippedExtendedAndReplaced()
    {
        using var scope = NewDisposeScope();
        var tensors = new[] { "model.layers.0.w", "head.w" }.Select(n => new Memory(n, Quantize(randn(4, 8), "int8", ""))).ToList();
        var transform = CheckpointTransform.StripPrefix("model.").Then(CheckpointTransform.Rename(@"layers\.(\d+)", "block$1")).Then(CheckpointTransform.AddPrefix("m."));
        Assert.Equal(["m.block0.w", "m.head.w"], transform.Apply(tensors).Select(t => t.Name));
        AssertSame(tensors[0].Array.Dequantize(), transform.Apply(tensors)[0]);
    }

    [Fact]
    public void PartsThatAreQuantizedDifferentlyAreJoinedAsNumbersOnly()
    {
        using var scope = NewDisposeScope();
        Memory[] parts = [new("q", Quantize(randn(4, 8), "int8", "channel")), new("k", Quantize(randn(4, 8), "int4", "channel"))];
        var fused = Assert.Single(CheckpointTransform.Fuse(["q", "k"], "qk").Apply(parts));
        Assert.Null(fused.Quantization);
        Assert.Throws<InvalidOperationException>(fused.ReadQuantized);
        GoldenValue.AssertBits("qk", cat([parts[0].Array.Dequantize(), parts[1].Array.Dequantize()]), fused.ReadFloat());
    }

    [Fact]
    public void TransformsThatDoNotFitAreRefused()
    {
        using var scope = NewDisposeScope();
        Memory[] parts = [new("a.q.weight", Quantize(randn(4, 8), "int8", "")), new("a.k.weight", Quantize(randn(4, 6), "int8", ""))];
        Refused(CheckpointTransform.Fuse(Qkv, "*.qkv.weight"), "\"a.v.weight\", which is not there");
        Refused(CheckpointTransform.Fuse(["*.q.weight", "*.k.weight"], "*.qk.weight"), "cannot be joined along axis 0");
        Refused(CheckpointTransform.Fuse(["*.q.weight", "*.k.weight"], "*.qk.weight", 2), "cannot be joined along axis 2");
        Refused(CheckpointTransform.Split("*.q.weight", ["*.x", "*.y", "*.z"]), "into 3 equal parts");
        Refused(CheckpointTransform.Split("*.q.weight", ["*.x", "*.y"], [1, 2]), "into parts of 1, 2");
        Refused(CheckpointTransform.Transpose("*", 0, 2), "has no axis 2");
        Refused(CheckpointTransform.Rename("[qk]", "x"), "two tensors the name \"a.x.weight\"");
        Assert.Throws<ArgumentException>(() => CheckpointTransform.Transpose("*.*"));
        Assert.Throws<ArgumentException>(() => CheckpointTransform.Fuse(["*.q"], "*.x"));
        Assert.Throws<ArgumentException>(() => CheckpointTransform.Split("*.q", ["*.x", "*.y"], [1]));

        void Refused(CheckpointTransform transform, string message) =>
            Assert.Contains(message, Assert.Throws<CheckpointException>(() => transform.Apply(parts)).Message);
    }

    private static void AssertSame(Tensor expected, LogicalTensor tensor)
    {
        Assert.Equal(expected.shape, tensor.Shape);
        GoldenValue.AssertBits(tensor.Name, expected, tensor.ReadFloat());
        var array = tensor.ReadQuantized();
        GoldenValue.AssertBits(tensor.Name, expected, array.Dequantize());
        Assert.Equal(array.ScaleShape.ToArray(), tensor.Quantization!.ScaleShape);
        Assert.Equal(array.QType, tensor.Quantization.QType);
        Assert.Equal(array.ZeroPoint is not null, tensor.Quantization.HasZeroPoint);
    }

    private static QArray Quantize(Tensor values, string qtype, string way) => way switch
    {
        "channel" => Qwix.Quantize(values, qtype, [0]),
        "tile" => Qwix.Quantize(values, qtype, [0], new Dictionary<int, TileSize> { [1] = 4 }),
        "block" => Qwix.Quantize(values, qtype, [], new Dictionary<int, TileSize> { [0] = 4, [1] = 4 }),
        "minmax" => Qwix.Quantize(values, qtype, [0], calibration: "minmax"),
        _ => Qwix.Quantize(values, qtype),
    };

    /// <summary>A quantized tensor in memory.</summary>
    private sealed class Memory(string name, QArray array) : LogicalTensor(name, array.Shape)
    {
        public QArray Array => array;

        public override string Description => array.ToString();

        public override bool IsQuantized => true;

        public override TensorQuantization? Quantization => new(array.QType, array.ScaleShape.ToArray(), array.ZeroPoint is not null);

        public override ScalarType Dtype => array.Dtype;

        public override QArray ReadQuantized() => array.To(array.Dtype);

        public override Tensor ReadFloat(ScalarType? dtype = null) => array.Dequantize();
    }
}
