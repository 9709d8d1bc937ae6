using QwixSharp.Checkpoints;

namespace QwixSharp.Tests.Checkpoints;

/// <summary>Folders whose index, shards or links are not what they should be.</summary>
public sealed class ShardedFolderBadInputTests : IDisposable
{
    private const string Index = "model.safetensors.index.json";

    private readonly TemporaryFolder _folder = new();

    public ShardedFolderBadInputTests()
    {
        WriteShard("a.safetensors", "t0");
        WriteShard("b.safetensors", "t1");
    }

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("../secret.safetensors")]
    [InlineData("sub/a.safetensors")]
    [InlineData("/etc/passwd")]
    [InlineData("..\\\\a.safetensors")]
    [InlineData("..")]
    [InlineData("")]
    [InlineData("a\\u0000b")]
    public void ANameThatClimbsOutOfTheFolderIsRefused(string name)
    {
        WriteIndex($$$"""{"weight_map":{"t0":"{{{name}}}"}}""");
        Refused("not a plain name of a file");
    }

    [Theory]
    [InlineData("""{"weight_map":{"t0":"a.safetensors","t2":"b.safetensors"}}""", "\"t2\" in \"b.safetensors\", but that file does not have it")]
    [InlineData("""{"weight_map":{"t0":"c.safetensors"}}""", "no such file")]
    [InlineData("""{"weight_map":{"t0":"a.safetensors","t0":"b.safetensors"}}""", "\"t0\" twice")]
    [InlineData("""{"weight_map":{"t0":7}}""", "does not say in which file")]
    [InlineData("""{"weight_map":[]}""", "no weight_map")]
    [InlineData("""[]""", "no weight_map")]
    [InlineData("""{"weight_map":""", "not valid JSON")]
    [InlineData("""{"weight_map":{"t0":"\ud83d"}}""", "not UTF-8")]
    public void AnIndexThatDoesNotFitIsRefused(string index, string message)
    {
        WriteIndex(index);
        Refused(message);
    }

    [Fact]
    public void AnIndexOfGreatDepthIsRefused()
    {
        WriteIndex(new string('[', 100_000));
        Refused("not valid JSON");
    }

    [Fact]
    public void ATruncatedShardIsRefused()
    {
        WriteIndex("""{"weight_map":{"t0":"a.safetensors","t1":"b.safetensors"}}""");
        using (var file = File.OpenWrite(_folder["b.safetensors"]))
            file.SetLength(file.Length - 1);
        Refused("b.safetensors");
    }

    [Fact]
    public void ALinkOutOfTheFolderIsRefused()
    {
        using var outside = new TemporaryFolder();
        File.Move(_folder["a.safetensors"], outside["a.safetensors"]);
        File.CreateSymbolicLink(_folder["a.safetensors"], outside["a.safetensors"]);
        WriteIndex("""{"weight_map":{"t0":"a.safetensors","t1":"b.safetensors"}}""");
        Refused("outside of its folder");

        File.Delete(_folder["a.safetensors"]);
        File.CreateSymbolicLink(_folder["a.safetensors"], _folder["none"]);
        Refused("no such file");

        File.Delete(_folder["a.safetensors"]);
        File.CreateSymbolicLink(_folder["a.safetensors"], _folder["a.safetensors"]);
        Refused("a.safetensors");
    }

    [Fact]
    public void LinksWithinTheFolderAndIntoTheCacheOfHuggingFaceAreFollowed()
    {
        File.CreateSymbolicLink(_folder["c.safetensors"], "a.safetensors");
        WriteIndex("""{"weight_map":{"t0":"c.safetensors","t1":"b.safetensors"}}""");
        using (var within = Checkpoint.Open(_folder.Path))
            Assert.Equal(2, within.Tensors.Count);

        var snapshot = Directory.CreateDirectory(_folder["snapshots/0123abc"]).FullName;
        Directory.CreateDirectory(_folder["blobs"]);
        File.Move(_folder["a.safetensors"], _folder["blobs/ab12"]);
        File.CreateSymbolicLink(Path.Combine(snapshot, "model.safetensors"), "../../blobs/ab12");
        using var cached = Checkpoint.Open(snapshot);
        Assert.Equal("t0", Assert.Single(cached.Tensors).Name);
    }

    [Fact]
    public void ATensorIsReadFromTheShardThatTheIndexNames()
    {
        WriteShard("b.safetensors", "t0");
        WriteIndex("""{"weight_map":{"t0":"a.safetensors"}}""");
        using var checkpoint = Checkpoint.Open(_folder.Path);
        Assert.Equal("t0", Assert.Single(checkpoint.Tensors).Name);
    }

    [Fact]
    public void AConfigurationThatIsNotJsonIsNamedWhenItIsAskedFor()
    {
        WriteIndex("""{"weight_map":{"t0":"a.safetensors"}}""");
        File.WriteAllText(_folder["config.json"], "{");
        using var checkpoint = Checkpoint.Open(_folder.Path);
        Assert.Contains("config.json", Assert.Throws<CheckpointException>(() => checkpoint.Config).Message);
    }

    private void WriteIndex(string json) => File.WriteAllText(_folder[Index], json);

    private void WriteShard(string file, string tensor)
    {
        using var writer = SafetensorsWriter.Create(_folder[file], [new TensorEntry(tensor, CheckpointDtype.Int8, [2])]);
        writer.Write(tensor, [1, 2]);
        writer.Complete();
    }

    private void Refused(string message)
    {
        var error = Assert.Throws<CheckpointException>(() => Checkpoint.Open(_folder.Path));
        Assert.Contains(message, error.Message);
        Assert.False(error.Message.Any(char.IsControl), error.Message);
    }
}
