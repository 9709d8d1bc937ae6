using CsCheck;
using QwixSharp.Checkpoints;
using QwixSharp.Checkpoints.Gguf;
using TorchSharp.PyBridge;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Checkpoints;

/// <summary>Valid files, damaged: each opens and reads, or is refused in one line. What is read is never more than the file holds.</summary>
public sealed class FormatFuzzTests : IDisposable
{
    private const int Cases = 3000;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void ADamagedGgufIsReadOrRefused() => Fuzz(ValidGguf(), ".gguf", headerOnly: 330);

    [Fact]
    public void ADamagedStateDictIsReadOrRefused() => Fuzz(ValidStateDict(), ".pt", headerOnly: int.MaxValue);

    /// <summary>Every second case is damaged in its first bytes alone, where a header is.</summary>
    private void Fuzz(byte[] valid, string extension, int headerOnly)
    {
        int refused = 0;
        Gen.Select(Mutations.Some, Gen.Bool).Sample(
            m =>
            {
                int part = m.Item2 ? Math.Min(headerOnly, valid.Length) : valid.Length;
                byte[] bytes = [.. m.Item1(valid[..part]), .. valid[part..]];
                string path = _folder[Guid.NewGuid().ToString("n") + extension];
                File.WriteAllBytes(path, bytes);
                try
                {
                    using var checkpoint = Checkpoint.Open(path);
                    foreach (var tensor in checkpoint.LogicalTensors)
                        tensor.ReadFloat().Dispose();
                    Assert.All(checkpoint.Tensors, t => Assert.InRange(t.ByteLength, 0, bytes.Length));
                }
                catch (CheckpointException error)
                {
                    Interlocked.Increment(ref refused);
                    Assert.False(error.Message.Any(char.IsControl), error.Message);
                }
                finally
                {
                    File.Delete(path);
                }
            },
            iter: Cases);
        Assert.InRange(refused, Cases / 10, Cases - 1);
    }

    private byte[] ValidGguf()
    {
        string path = _folder["valid.gguf"];
        var metadata = new Dictionary<string, object> { ["general.alignment"] = 32u, ["name"] = "tiny", ["list"] = new[] { "a", "bc" }, ["deep"] = new Array[] { new[] { 1, 2 } }, ["f"] = 0.5 };
        using var values = rand(2, 64);
        using (var writer = new GgufWriter(path, metadata, [("a", GgufTensorType.Q8_0, [2, 64]), ("b", GgufTensorType.Q4_1, [2, 64]), ("c", GgufTensorType.F16, [2, 64])]))
        {
            foreach (string name in new[] { "a", "b", "c" })
                writer.Write(name, values);
            writer.Complete();
        }

        return File.ReadAllBytes(path);
    }

    private byte[] ValidStateDict()
    {
        string path = _folder["valid.pt"];
        using var model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4));
        model.save_py(path);
        return File.ReadAllBytes(path);
    }
}
