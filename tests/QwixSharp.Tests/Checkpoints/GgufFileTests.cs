using QwixSharp.Arrays;
using QwixSharp.Checkpoints;
using QwixSharp.Checkpoints.Gguf;
using QwixSharp.Numerics;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Checkpoints;

public sealed class GgufFileTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly DisposeScope _scope = NewDisposeScope();

    public static TheoryData<string> Types => ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"];

    public void Dispose()
    {
        _scope.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public void MetadataOfEveryKindComeBack()
    {
        var metadata = new Dictionary<string, object>
        {
            ["byte"] = byte.MaxValue,
            ["sbyte"] = sbyte.MinValue,
            ["ushort"] = ushort.MaxValue,
            ["short"] = short.MinValue,
            ["uint"] = uint.MaxValue,
            ["int"] = int.MinValue,
            ["ulong"] = ulong.MaxValue,
            ["long"] = long.MinValue,
            ["float"] = 0.1f,
            ["double"] = 0.1,
            ["true"] = true,
            ["false"] = false,
            ["text"] = "Grüße, 世界 🦙",
            ["empty"] = "",
            ["bytes"] = new byte[] { 0, 255 },
            ["flags"] = new[] { true, false },
            ["longs"] = new[] { 1L, -1L },
            ["doubles"] = new[] { 0.5 },
            ["texts"] = new[] { "a", "", "bc" },
            ["none"] = Array.Empty<int>(),
            ["nested"] = new Array[] { new[] { 1, 2 }, new[] { "x" }, Array.Empty<float>() },
        };
        using var read = Write(metadata);
        Assert.Equal(metadata.Keys, read.Values.Keys);
        foreach (var (key, value) in metadata)
        {
            Assert.Equal(value, read.Values[key]);
            Assert.Equal(value.GetType(), read.Values[key].GetType());
        }

        Assert.Equal("Grüße, 世界 🦙", read.Metadata["text"]);
    }

    [Theory]
    [MemberData(nameof(Types))]
    public void TensorsComeBackNear(string name)
    {
        var type = new[] { GgufTensorType.F32, GgufTensorType.F16, GgufTensorType.BF16, GgufTensorType.Q8_0, GgufTensorType.Q4_0, GgufTensorType.Q4_1 }.Single(t => t.Name == name);
        var values = linspace(-1, 1, 3 * 5 * 64).reshape(3, 5, 64);
        using var read = Write([], ("x", type, values), ("none", type, empty(0, 32)));
        var tensor = read.LogicalTensors[0];
        Assert.Equal([3, 5, 64], tensor.Shape);
        Assert.Equal(type.BlockLength > 1, tensor.IsQuantized);
        float error = (tensor.ReadFloat(ScalarType.Float32) - values).abs().max().item<float>();
        // The largest value of the other sign has no code of its own in Q4_0: it is off by a whole step.
        Assert.InRange(error, 0, name switch { "Q4_0" => 0.126f, "Q4_1" => 0.07f, _ => 0.01f });
        Assert.Equal(0, read.LogicalTensors[1].ReadFloat().numel());
    }

    [Theory]
    [InlineData(16u)]
    [InlineData(4096u)]
    public void TensorsAreAligned(uint alignment)
    {
        using var read = Write(new Dictionary<string, object> { ["general.alignment"] = alignment }, ("a", GgufTensorType.F32, ones(1)), ("b", GgufTensorType.F32, ones(3)));
        Assert.All(read.Tensors, t => Assert.Equal(0, read.Tensor(t.Name).Offset % alignment));
        Assert.Equal(3, read.Read("b").sum().item<float>());
    }

    [Theory]
    [InlineData("int8", 32, "Q8_0")]
    [InlineData("int4", 32, "Q4_0")]
    [InlineData("int4", 64, "Q4_0")]
    [InlineData("int8", 0, "Q8_0")]
    public void QArraysAreWrittenWithoutQuantizingAgain(string qtype, int tile, string type)
    {
        var how = new HowToQuantize { QType = QType.Parse(qtype), ChannelwiseAxes = [0], TiledAxes = tile == 0 ? new Dictionary<int, TileSize>() : new Dictionary<int, TileSize> { [1] = tile } };
        // A scale that float16 can hold: the largest value of each tile is the bound.
        var values = randint(-7, 7, [6, 128]).to(ScalarType.Float32);
        values[TensorIndex.Colon, TensorIndex.Slice(0, null, 32)] = QType.Parse(qtype).SymmetricBound;
        var array = Qwix.Quantize(values, how.QType, how.ChannelwiseAxes, how.TiledAxes);
        Assert.Equal(type, GgufWriter.TypeOf(array)!.Name);
        string path = _folder["q.gguf"];
        using (var writer = new GgufWriter(path, [], [("w", GgufWriter.TypeOf(array)!, [6, 128])]))
        {
            writer.Write("w", array);
            writer.Complete();
        }

        using var read = Checkpoint.Open(path);
        var back = read.LogicalTensors[0].ReadQuantized();
        Assert.True(back.GetQValue().Equals(array.GetQValue()));
        Assert.True(back.Dequantize().Equals(array.Dequantize()));
    }

    [Fact]
    public void WhatBlocksCannotHoldIsSaid()
    {
        var x = randn(4, 64);
        Assert.Null(GgufWriter.TypeOf(Qwix.Quantize(x, QType.Int8, [0], new Dictionary<int, TileSize> { [1] = 16 })));
        Assert.Null(GgufWriter.TypeOf(Qwix.Quantize(x, QType.Int8, [0], calibration: "minmax")));
        Assert.Null(GgufWriter.TypeOf(Qwix.Quantize(x, QType.NF4, [0])));
        Assert.Contains("\"w\"", Assert.Throws<ArgumentException>(() => Begin(("w", GgufTensorType.Q8_0, [4, 33]))).Message);
        Assert.Contains("\"w\"", Assert.Throws<ArgumentException>(() => Begin(("w", GgufTensorType.F32, [1, 1, 1, 1, 1]))).Message);
        Assert.Contains("\"w\"", Assert.Throws<ArgumentException>(() => Begin(("w", GgufTensorType.F32, [1]), ("w", GgufTensorType.F32, [1]))).Message);
        using (var writer = Begin(("w", GgufTensorType.Q5_0, [32])))
            Assert.Contains("Q5_0", Assert.Throws<ArgumentException>(() => writer.Write("w", ones(32))).Message);
        Assert.Contains("\"k\"", Assert.Throws<ArgumentException>(() => new GgufWriter(_folder["a.gguf"], [new("k", DateTime.UnixEpoch)], [])).Message);
        Assert.Contains("general.alignment", Assert.Throws<ArgumentException>(() => new GgufWriter(_folder["a.gguf"], [new("general.alignment", 33u)], [])).Message);
        Assert.Empty(_folder.Names);
    }

    [Fact]
    public void AFileIsThereOnlyWhenItIsWhole()
    {
        using (var writer = Begin(("a", GgufTensorType.Q8_0, [32]), ("b", GgufTensorType.F32, [2])))
        {
            writer.Write("a", ones(32));
            Assert.Contains("\"b\"", Assert.Throws<InvalidOperationException>(writer.Complete).Message);
            Assert.Contains("[2]", Assert.Throws<ArgumentException>(() => writer.Write("b", ones(3))).Message);
            Assert.Throws<ArgumentException>(() => writer.Write("c", ones(1)));
            Assert.Throws<ArgumentException>(() => writer.Write("b", new byte[4], 5));
            Assert.DoesNotContain("a.gguf", _folder.Names);
        }

        Assert.Empty(_folder.Names);
        using (var writer = Begin(("a", GgufTensorType.Q8_0, [32])))
        {
            var error = Assert.Throws<CheckpointException>(() => writer.Write("a", full(32, float.NaN)));
            Assert.Contains("\"a\"", error.Message);
        }

        Assert.Empty(_folder.Names);
    }

    private GgufWriter Begin(params (string, GgufTensorType, long[])[] tensors) => new(_folder["a.gguf"], [], tensors);

    private GgufCheckpoint Write(IEnumerable<KeyValuePair<string, object>> metadata, params (string Name, GgufTensorType Type, Tensor Values)[] tensors)
    {
        string path = _folder["a.gguf"];
        using (var writer = new GgufWriter(path, metadata, tensors.Select(t => (t.Name, t.Type, t.Values.shape))))
        {
            foreach (var (name, _, values) in tensors)
                writer.Write(name, values);
            writer.Complete();
        }

        return (GgufCheckpoint)Checkpoint.Open(path);
    }
}
