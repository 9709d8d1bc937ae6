using QwixSharp.Checkpoints;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Checkpoints;

/// <summary>Plain safetensors checkpoints that Hugging Face's own libraries wrote.</summary>
[Trait("Category", "Golden")]
public sealed class CheckpointGoldenTests
{
    public static IEnumerable<TheoryDataRow<string>> Plain => FormatFolders.Rows(name => name.StartsWith("hf-", StringComparison.Ordinal));

    [Theory]
    [MemberData(nameof(Plain))]
    public void EveryTensorHasTheValuesItsWriterMeant(string name)
    {
        using var checkpoint = Checkpoint.Open(FormatFolders.Folder(name));
        using var expected = Checkpoint.Open(Path.Combine(FormatFolders.Folder(name), "expected.safetensors"));
        Assert.Equal("plain", checkpoint.Layout.Name);
        Assert.Equal("pt", checkpoint.Metadata["format"]);
        Assert.Equal(expected.Tensors.Select(t => t.Name).Order(StringComparer.Ordinal), checkpoint.LogicalTensors.Select(t => t.Name).Order(StringComparer.Ordinal));
        foreach (var tensor in checkpoint.LogicalTensors)
        {
            using var scope = NewDisposeScope();
            var values = tensor.ReadFloat(ScalarType.Float32);
            Assert.True(values.equal(expected.Read(tensor.Name)).all().item<bool>(), tensor.Name);
        }
    }

    [Theory]
    [MemberData(nameof(Plain))]
    public void WrittenAgainTheFileIsTheSame(string name)
    {
        using var folder = new TemporaryFolder();
        foreach (var file in Directory.GetFiles(FormatFolders.Folder(name), "model*.safetensors"))
        {
            using (var checkpoint = Checkpoint.Open(file))
            using (var writer = SafetensorsWriter.Create(folder["copy.safetensors"], checkpoint.Tensors, checkpoint.Metadata))
            {
                foreach (var entry in checkpoint.Tensors)
                {
                    using var tensor = checkpoint.Read(entry.Name);
                    writer.Write(entry.Name, tensor);
                }

                writer.Complete();
            }

            Assert.Equal(File.ReadAllBytes(file), File.ReadAllBytes(folder["copy.safetensors"]));
        }
    }
}
