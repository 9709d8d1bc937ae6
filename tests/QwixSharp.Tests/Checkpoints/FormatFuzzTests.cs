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

    [Fact]
    public void ADamagedGptqFolderIsReadOrRefused()
    {
        using var scope = NewDisposeScope();
        (string Name, Tensor Values)[] tensors = [("m.qweight", randint(0, 1 << 30, [4, 16]).to(ScalarType.Int32)), ("m.qzeros", randint(0, 1 << 30, [2, 2]).to(ScalarType.Int32)), ("m.scales", rand(2, 16)), ("m.g_idx", arange(32).div(tensor(16), RoundingMode.floor).to(ScalarType.Int32))];
        FuzzFolder("""{"quantization_config": {"quant_method": "gptq", "checkpoint_format": "gptq", "bits": 4, "group_size": 16, "sym": false}}""", tensors);
    }

    [Fact]
    public void ADamagedCompressedTensorsFolderIsReadOrRefused()
    {
        using var scope = NewDisposeScope();
        (string Name, Tensor Values)[] tensors = [("m.weight_packed", randint(0, 1 << 30, [8, 4]).to(ScalarType.Int32)), ("m.weight_zero_point", randint(0, 1 << 30, [1, 2]).to(ScalarType.Int32)), ("m.weight_scale", rand(8, 2)), ("m.weight_shape", tensor([8L, 32L]))];
        FuzzFolder("""{"quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 16, "symmetric": false}}}}}""", tensors);
    }

    [Fact]
    public void ADamagedBitsAndBytesFolderIsReadOrRefused()
    {
        using var scope = NewDisposeScope();
        byte[] state = [.. """{"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": [4, 64]}"""u8];
        (string Name, Tensor Values)[] tensors = [("m.weight", randint(0, 255, [128, 1]).to(ScalarType.Byte)), ("m.weight.absmax", rand(4)), ("m.weight.quant_map", linspace(-1, 1, 16)), ("m.weight.quant_state.bitsandbytes__nf4", tensor(state))];
        FuzzFolder("""{"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": true}}""", tensors);
    }

    /// <summary>Numbers and texts of the configuration and of the header are replaced by others.</summary>
    private void FuzzFolder(string config, (string Name, Tensor Values)[] tensors)
    {
        string[] replacements = ["0", "1", "-1", "3", "8", "64", "2147483648", "1e3", "null", "true", "\"int\"", "[]", "{}"];
        string model = _folder["model.safetensors"];
        using (var writer = SafetensorsWriter.Create(model, tensors.Select(t => TensorEntry.Of(t.Name, t.Values))))
        {
            foreach (var (name, values) in tensors)
                writer.Write(name, values);
            writer.Complete();
        }

        byte[] bytes = File.ReadAllBytes(model);
        int headerLength = (int)BitConverter.ToInt64(bytes);
        string header = System.Text.Encoding.UTF8.GetString(bytes, 8, headerLength);
        int refused = 0;
        Gen.Select(Gen.Bool, Gen.Int[0, 60], Gen.Int[0, replacements.Length - 1]).Sample(
            m =>
            {
                var (inConfig, place, replacement) = m;
                string folder = Directory.CreateDirectory(_folder[Guid.NewGuid().ToString("n")]).FullName;
                string Changed(string json) => Change(json, place, replacements[replacement]);
                byte[] newHeader = System.Text.Encoding.UTF8.GetBytes(inConfig ? header : Changed(header));
                File.WriteAllText(Path.Combine(folder, "config.json"), inConfig ? Changed(config) : config);
                File.WriteAllBytes(Path.Combine(folder, "model.safetensors"), [.. BitConverter.GetBytes((long)newHeader.Length), .. newHeader, .. bytes[(8 + headerLength)..]]);
                if (!TryRead(folder))
                    Interlocked.Increment(ref refused);
                Directory.Delete(folder, recursive: true);
            },
            iter: Cases / 3);
        Assert.InRange(refused, 1, (Cases / 3) - 1);
    }

    /// <summary>Replaces one value: a number, or a text that is no key.</summary>
    private static string Change(string json, int place, string replacement)
    {
        var values = System.Text.RegularExpressions.Regex.Matches(json, """(?<=[:\[,]\s*)("[^"]*"(?!\s*:)|-?\d+|true|false)""");
        var value = values[place % values.Count];
        return json[..value.Index] + replacement + json[(value.Index + value.Length)..];
    }

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
                if (!TryRead(path))
                    Interlocked.Increment(ref refused);
                File.Delete(path);
            },
            iter: Cases);
        Assert.InRange(refused, Cases / 10, Cases - 1);
    }

    private static bool TryRead(string path)
    {
        try
        {
            using var checkpoint = Checkpoint.Open(path);
            foreach (var tensor in checkpoint.LogicalTensors)
            {
                tensor.ReadFloat().Dispose();
                if (tensor.Quantization is not null)
                    tensor.ReadQuantized().Dispose();
                Assert.InRange(tensor.Shape.Aggregate(1L, (a, b) => a * b), 0, 1 << 16);
            }

            return true;
        }
        catch (CheckpointException error)
        {
            Assert.False(error.Message.Any(char.IsControl), error.Message);
            return false;
        }
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
