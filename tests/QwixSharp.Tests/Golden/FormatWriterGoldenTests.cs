using System.Text.Json;
using QwixSharp.Checkpoints;
using QwixSharp.Checkpoints.CompressedTensors;
using QwixSharp.Checkpoints.Gguf;
using QwixSharp.Tests.Checkpoints;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Golden;

/// <summary>What we write is what the libraries write which own the formats.</summary>
[Trait("Category", "Golden")]
[Trait("Family", "formats")]
public class FormatWriterGoldenTests
{
    private const string SourcePrefix = "source.";

    public static IEnumerable<TheoryDataRow<string>> Gguf() => FormatFolders.Rows(name => name.StartsWith("gguf", StringComparison.Ordinal));

    public static IEnumerable<TheoryDataRow<string>> CompressedTensors() => FormatFolders.Rows(name => name.StartsWith("ct-", StringComparison.Ordinal));

    [Theory]
    [MemberData(nameof(Gguf))]
    public void QuantizesToTheSameFile(string folder)
    {
        using var scope = NewDisposeScope();
        using var temporary = new TemporaryFolder();
        string original = FormatFile.Of(folder), path = temporary["model.gguf"];
        var sources = new SafetensorsFile(Path.Combine(FormatFolders.Folder(folder), "expected.safetensors"));
        using var checkpoint = Assert.IsType<GgufCheckpoint>(Checkpoint.Open(original));
        using (var writer = new GgufWriter(path, checkpoint.Values, checkpoint.Tensors.Select(t => (t.Name, checkpoint.TypeOf(t.Name), t.Shape.ToArray()))))
        {
            foreach (var entry in checkpoint.Tensors)
            {
                if (checkpoint.TypeOf(entry.Name).CanWrite)
                    writer.Write(entry.Name, sources.Read(SourcePrefix + entry.Name));
                else
                    writer.Write(entry.Name, checkpoint.GetBytes(entry.Name, 0, (int)entry.ByteLength));
            }

            writer.Complete();
        }

        Assert.Equal(File.ReadAllBytes(original), File.ReadAllBytes(path));
    }

    [Theory]
    [MemberData(nameof(Gguf))]
    public void QArraysOfBlocksBecomeTheSameBlocks(string folder)
    {
        using var scope = NewDisposeScope();
        using var temporary = new TemporaryFolder();
        string path = temporary["model.gguf"];
        using var checkpoint = Assert.IsType<GgufCheckpoint>(Checkpoint.Open(FormatFile.Of(folder)));
        var arrays = checkpoint.LogicalTensors.Where(t => t.Quantization is not null).ToDictionary(t => t.Name, t => t.ReadQuantized());
        var kept = arrays.Where(a => GgufWriter.TypeOf(a.Value) is not null).ToDictionary();
        Assert.NotEmpty(kept);
        using (var writer = new GgufWriter(path, [], kept.Select(a => (a.Key, GgufWriter.TypeOf(a.Value)!, a.Value.Shape.ToArray()))))
        {
            foreach (var (name, array) in kept)
                writer.Write(name, array);
            writer.Complete();
        }

        using var written = Assert.IsType<GgufCheckpoint>(Checkpoint.Open(path));
        foreach (var entry in written.Tensors)
        {
            Assert.Equal(checkpoint.TypeOf(entry.Name), written.TypeOf(entry.Name));
            Assert.Equal(checkpoint.GetBytes(entry.Name, 0, (int)entry.ByteLength), written.GetBytes(entry.Name, 0, (int)entry.ByteLength));
        }
    }

    [Theory]
    [MemberData(nameof(CompressedTensors))]
    public void WritesTheSameTensorsAndConfiguration(string folder)
    {
        using var scope = NewDisposeScope();
        using var temporary = new TemporaryFolder();
        using var original = Checkpoint.Open(FormatFolders.Folder(folder));
        var weights = original.LogicalTensors.OfType<CompressedTensorsWeight>().ToList();
        var activations = weights[0].Activations;
        if (original.LogicalTensors.Any(t => t.IsQuantized && t.Quantization is null))
            Assert.Skip("It has weights that no QArray holds.");
        using (var writer = new CompressedTensorsWriter(temporary.Path, original.LogicalTensors.Select(Declare), original.Config, activations))
        {
            foreach (var tensor in original.LogicalTensors)
            {
                if (tensor.IsQuantized)
                    writer.Write(tensor.Name, tensor.ReadQuantized());
                else
                    writer.Write(tensor.Name, tensor.ReadFloat());
            }

            foreach (var weight in weights)
            {
                if (weight.ReadInputScale() is { } scale)
                    writer.WriteInputScale(weight.Name, scale);
            }

            writer.Complete();
        }

        using var written = Checkpoint.Open(temporary.Path);
        Assert.Equal(original.Tensors.Select(t => t.ToString()).Order(StringComparer.Ordinal), written.Tensors.Select(t => t.ToString()).Order(StringComparer.Ordinal));
        foreach (var entry in original.Tensors)
            Assert.Equal(original.GetBytes(entry.Name, 0, (int)entry.ByteLength), written.GetBytes(entry.Name, 0, (int)entry.ByteLength));
        Assert.Equal(Sorted(original.Config!.Value), Sorted(written.Config!.Value));
    }

    private static CompressedTensorsTensor Declare(LogicalTensor tensor) =>
        new(tensor.Name, tensor.Shape, CheckpointDtypes.Of(tensor.Dtype), tensor.Quantization);

    /// <summary>All paths and values of a JSON text, in order.</summary>
    private static IEnumerable<string> Sorted(JsonElement json, string path = "") => json.ValueKind switch
    {
        JsonValueKind.Object => json.EnumerateObject().OrderBy(p => p.Name, StringComparer.Ordinal).SelectMany(p => Sorted(p.Value, $"{path}/{p.Name}")).DefaultIfEmpty(path + " {}"),
        JsonValueKind.Array => json.EnumerateArray().SelectMany((e, i) => Sorted(e, $"{path}/{i}")).DefaultIfEmpty(path + " []"),
        _ => [$"{path} {json.GetRawText()}"],
    };
}
