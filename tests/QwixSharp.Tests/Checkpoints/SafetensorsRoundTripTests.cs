using System.Text;
using CsCheck;
using QwixSharp.Checkpoints;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Checkpoints;

/// <summary>What is written is read again, by the library and by the format's own rules.</summary>
public sealed class SafetensorsRoundTripTests : IDisposable
{
    private static readonly ScalarType[] Kinds = [ScalarType.Float32, ScalarType.BFloat16, ScalarType.Int64, ScalarType.Bool];

    private readonly TemporaryFolder _folder = new();

    public static TheoryData<CheckpointDtype> Dtypes => [.. Enum.GetValues<CheckpointDtype>().Where(d => d != CheckpointDtype.Other)];

    public void Dispose() => _folder.Dispose();

    [Theory]
    [MemberData(nameof(Dtypes))]
    public void EveryDtypeKeepsItsBits(CheckpointDtype dtype)
    {
        var entry = new TensorEntry("layer.weight", dtype, [3, 8]);
        var bytes = new byte[entry.ByteLength];
        new Random(7).NextBytes(bytes);
        if (dtype == CheckpointDtype.Bool)
            bytes = [.. bytes.Select(b => (byte)(b & 1))];
        using (var writer = SafetensorsWriter.Create(_folder["a.safetensors"], [entry]))
        {
            writer.Write("layer.weight", bytes);
            writer.Complete();
        }

        using (var checkpoint = Checkpoint.Open(_folder["a.safetensors"]))
        using (var copy = SafetensorsWriter.Create(_folder["b.safetensors"], checkpoint.Tensors))
        {
            var read = Assert.Single(checkpoint.Tensors);
            Assert.Equal(("layer.weight", dtype, entry.ByteLength), (read.Name, read.Dtype, read.ByteLength));
            Assert.Equal([3, 8], read.Shape);
            var some = new byte[5];
            checkpoint.ReadBytes("layer.weight", some, 2);
            Assert.Equal(bytes[2..7], some);
            Assert.True(bytes.AsSpan(1).SequenceEqual(checkpoint.GetBytes("layer.weight", 1, bytes.Length - 1)));
            using var tensor = checkpoint.Read("layer.weight");
            Assert.True(bytes.AsSpan().SequenceEqual(tensor.bytes));
            copy.Write("layer.weight", tensor);
            copy.Complete();
        }

        Assert.Equal(File.ReadAllBytes(_folder["a.safetensors"]), File.ReadAllBytes(_folder["b.safetensors"]));
    }

    [Fact]
    public void TensorsOfAllShapesComeBack() =>
        Gen.Select(Gen.Long[0, 4].Array[0, 4], Gen.Int[0, 3].Select(i => Kinds[i])).List[1, 6].Sample(
            tensors =>
            {
                using var scope = NewDisposeScope();
                var path = _folder[$"{Guid.NewGuid():n}.safetensors"];
                var values = tensors.Select((t, i) => (Name: $"t{i}", Tensor: (arange(t.Item1.Aggregate(1L, (a, b) => a * b)) * 3).reshape(t.Item1).to(t.Item2))).ToList();
                using (var writer = SafetensorsWriter.Create(path, values.Select(v => Entry(v.Name, v.Tensor))))
                {
                    foreach (var (name, tensor) in values)
                        writer.Write(name, tensor);
                    writer.Complete();
                }

                using var checkpoint = Checkpoint.Open(path);
                return values.TrueForAll(v => checkpoint.Read(v.Name) is var read && read.dtype == v.Tensor.dtype && read.shape.SequenceEqual(v.Tensor.shape) && read.equal(v.Tensor).all().item<bool>());
            },
            iter: 50);

    [Fact]
    public void MetadataAndNamesOfAllKindsAreKept()
    {
        var metadata = new Dictionary<string, string> { ["format"] = "pt", ["quote \"\\\n"] = "ünï→💡", [""] = "" };
        string[] names = ["", "ünï→💡", "with \"quotes\" and \\", "a/b c\td", "__metadata", new('x', 5000)];
        using (var writer = SafetensorsWriter.Create(_folder["a.safetensors"], names.Select(n => new TensorEntry(n, CheckpointDtype.Int8, [2])), metadata))
        {
            foreach (var name in names)
                writer.Write(name, [1, 2]);
            writer.Complete();
        }

        using var checkpoint = Checkpoint.Open(_folder["a.safetensors"]);
        Assert.Equal(metadata, checkpoint.Metadata);
        Assert.Equal(names.Order(StringComparer.Ordinal), checkpoint.Tensors.Select(t => t.Name).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void AFileIsLaidOutAsTheFormatsOwnLibraryDoes()
    {
        using (var writer = SafetensorsWriter.Create(_folder["a.safetensors"], [new("b", CheckpointDtype.Int8, [1]), new("z", CheckpointDtype.Float32, [1]), new("a", CheckpointDtype.Int8, [1])], new Dictionary<string, string> { ["format"] = "pt" }))
        {
            writer.Write("a", [1]);
            writer.Write("z", [4, 5, 6, 7]);
            writer.Write("b", [2]);
            writer.Complete();
        }

        const string header = """{"__metadata__":{"format":"pt"},"z":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"I8","shape":[1],"data_offsets":[4,5]},"b":{"dtype":"I8","shape":[1],"data_offsets":[5,6]}}""";
        var bytes = File.ReadAllBytes(_folder["a.safetensors"]);
        int length = (int)BitConverter.ToInt64(bytes);
        Assert.Equal(0, length % 8);
        Assert.Equal(header.PadRight(length), Encoding.UTF8.GetString(bytes, 8, length));
        Assert.Equal([4, 5, 6, 7, 1, 2], bytes[(8 + length)..]);
    }

    [Fact]
    public void TensorsAreWrittenAndReadByManyThreadsAtOnce()
    {
        var entries = Enumerable.Range(0, 64).Select(i => new TensorEntry($"t{i}", CheckpointDtype.Int32, [257 + i])).ToList();
        using (var writer = SafetensorsWriter.CreateFolder(_folder["model"], entries, maxShardSize: 10_000))
        {
            Parallel.ForEach(entries, e =>
            {
                using var tensor = arange(e.Shape[0], dtype: ScalarType.Int32);
                writer.Write(e.Name, tensor);
            });
            writer.Complete();
        }

        using var checkpoint = Checkpoint.Open(_folder["model"]);
        Assert.Equal(64, checkpoint.Tensors.Count);
        Parallel.ForEach(entries, e =>
        {
            using var tensor = checkpoint.Read(e.Name);
            Assert.Equal(Enumerable.Range(0, (int)e.Shape[0]), tensor.data<int>().ToArray());
        });
    }

    [Fact]
    public void ShardsAreFilledInOrderAndNamedByTheIndex()
    {
        TensorEntry[] entries = [.. Enumerable.Range(0, 5).Select(i => new TensorEntry($"t{i}", CheckpointDtype.UInt8, [i == 2 ? 100 : 10]))];
        Write(_folder["model"], entries, 20);
        Assert.Equal(
            ["model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors", "model.safetensors.index.json"],
            Directory.GetFiles(_folder["model"]).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        var index = System.Text.Json.JsonDocument.Parse(File.ReadAllText(_folder["model/model.safetensors.index.json"])).RootElement;
        Assert.Equal(140, index.GetProperty("metadata").GetProperty("total_size").GetInt64());
        Assert.Equal("model-00002-of-00003.safetensors", index.GetProperty("weight_map").GetProperty("t2").GetString());

        using var byIndex = Checkpoint.Open(_folder["model/model.safetensors.index.json"]);
        Assert.Equal(5, byIndex.Tensors.Count);
        // Written anew in one file, the folder has no index any more that would hide it.
        Write(_folder["model"], entries, SafetensorsWriter.DefaultShardSize);
        using var single = Checkpoint.Open(_folder["model"]);
        Assert.Equal(5, single.Tensors.Count);
    }

    [Fact]
    public void EmptyTensorsAndEmptyFilesAreFine()
    {
        Write(_folder["none"], [], 10);
        Write(_folder["empty"], [new("e", CheckpointDtype.Float32, [0, 3]), new("f", CheckpointDtype.Float32, [3, 0])], 10);
        using var none = Checkpoint.Open(_folder["none"]);
        Assert.Empty(none.Tensors);
        using var empty = Checkpoint.Open(_folder["empty"]);
        using var tensor = empty.Read("e");
        Assert.Equal([0, 3], tensor.shape);
        Assert.True(empty.GetBytes("e", 0, 0).IsEmpty);
    }

    [Fact]
    public void ATensorOfAViewIsWrittenAsItsValues()
    {
        using var tensor = arange(6, dtype: ScalarType.Float32).reshape(2, 3);
        using var view = tensor.t();
        using (var writer = SafetensorsWriter.Create(_folder["a.safetensors"], [Entry("v", view)]))
        {
            writer.Write("v", view);
            writer.Complete();
        }

        using var checkpoint = Checkpoint.Open(_folder["a.safetensors"]);
        using var read = checkpoint.Read("v");
        Assert.Equal([0f, 3f, 1f, 4f, 2f, 5f], read.data<float>().ToArray());
    }

    internal static TensorEntry Entry(string name, Tensor tensor) => TensorEntry.Of(name, tensor);

    private static void Write(string folder, TensorEntry[] entries, long maxShardSize)
    {
        using var writer = SafetensorsWriter.CreateFolder(folder, entries, maxShardSize: maxShardSize);
        foreach (var entry in entries)
            writer.Write(entry.Name, new byte[entry.ByteLength]);
        writer.Complete();
    }
}
