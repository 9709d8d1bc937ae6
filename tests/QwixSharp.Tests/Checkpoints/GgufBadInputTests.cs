using System.Buffers.Binary;
using System.Text;
using QwixSharp.Checkpoints;

namespace QwixSharp.Tests.Checkpoints;

/// <summary>GGUF headers that lie: each is refused with one line that names the tensor or the key.</summary>
public sealed class GgufBadInputTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    public static TheoryData<string, byte[], string> Lies => new()
    {
        { "version 1", [.. "GGUF"u8, .. U32(1), .. U64(0), .. U64(0)], "version 1" },
        { "big-endian", [.. "GGUF"u8, 0, 0, 0, 3, .. U64(0), .. U64(0)], "big-endian" },
        { "other letters", [.. "GGML"u8, .. U32(3), .. U64(0), .. U64(0)], "letters GGUF" },
        { "cut short", [.. "GGUF"u8, .. U32(3), .. U64(0)], "ends within" },
        { "tensors without end", [.. "GGUF"u8, .. U32(3), .. U64(ulong.MaxValue), .. U64(0)], $"{ulong.MaxValue} of tensors" },
        { "metadata without end", [.. "GGUF"u8, .. U32(3), .. U64(0), .. U64(1UL << 40)], "of metadata" },
        { "a long key", Header([], Text("x", 1UL << 60)), "bytes of a metadata key" },
        { "a key that is no text", Header([], [.. U64(2), 0xC3, 0x28, .. U32(0), 0]), "not UTF-8" },
        { "an unknown kind", Header([], [.. Text("key"), .. U32(13), .. U64(0)]), "\"key\" the unknown kind 13" },
        { "a long array", Header([], [.. Text("key"), .. U32(9), .. U32(8), .. U64(1UL << 50)]), "elements of the value of \"key\"" },
        { "a deep array", Header([], [.. Text("key"), .. Enumerable.Repeat<byte[]>([.. U32(9), .. U64(1)], 20).SelectMany(b => b).Prepend((byte)9).Take(200)]), "\"key\"" },
        { "a key twice", Header([], [.. Text("key"), .. U32(0), 1], [.. Text("key"), .. U32(0), 1]), "\"key\" twice" },
        { "alignment 0", Header([], [.. Text("general.alignment"), .. U32(4), .. U32(0)]), "general.alignment" },
        { "alignment 48", Header([], [.. Text("general.alignment"), .. U32(4), .. U32(48)]), "general.alignment" },
        { "alignment of text", Header([], [.. Text("general.alignment"), .. U32(8), .. Text("32")]), "general.alignment" },
        { "a tensor twice", Header([Tensor("w", 0, 0, 1), Tensor("w", 0, 32, 1)]), "\"w\" twice" },
        { "an unknown type", Header([Tensor("w", 77, 0, 32)]), "\"w\" the unknown type 77" },
        { "five axes", Header([Tensor("w", 0, 0, 1, 1, 1, 1, 1)]), "\"w\" 5 axes" },
        { "a negative axis", Header([Tensor("w", 0, 0, 1UL << 63)]), "\"w\"" },
        { "axes that overflow", Header([Tensor("w", 0, 0, 1UL << 31, 1UL << 31, 4)]), "\"w\" that cannot be" },
        { "axes that overflow beside a zero", Header([Tensor("w", 0, 0, 0, 1UL << 40, 1UL << 40)]), "\"w\" that cannot be" },
        { "a broken block", Header([Tensor("w", 8, 0, 33)]), "multiple of 32" },
        { "an offset beyond the end", Header([Tensor("w", 0, 1UL << 40, 1)]), "\"w\"" },
        { "an offset without end", Header([Tensor("w", 0, ulong.MaxValue - 31, 1)]), "\"w\"" },
        { "an odd offset", Header([Tensor("w", 0, 4, 1)]), "\"w\" at 4" },
        { "more values than bytes", Header([Tensor("w", 0, 0, 1UL << 40)]), "\"w\"" },
        { "tensors over each other", [.. Header([Tensor("v", 0, 0, 16), Tensor("w", 0, 32, 1)]), .. new byte[128]], "\"v\" and \"w\" over each other" },
    };

    [Theory]
    [MemberData(nameof(Lies))]
    public void ALieIsRefused(string what, byte[] bytes, string message)
    {
        string path = _folder["lie.gguf"];
        File.WriteAllBytes(path, bytes);
        var error = Assert.Throws<CheckpointException>(() => Checkpoint.Open(path));
        Assert.Contains(message, error.Message);
        Assert.DoesNotContain('\n', error.Message);
        Assert.NotEmpty(what);
    }

    [Theory]
    [InlineData(10u, "Q2_K", 84)]
    [InlineData(39u, "MXFP4", 17)]
    public void ATypeThatIsNotReadIsListedAndNamed(uint id, string name, int size)
    {
        string path = _folder["a.gguf"];
        File.WriteAllBytes(path, [.. Header([Tensor("w", id, 0, name == "MXFP4" ? 32ul : 256)]), .. new byte[size]]);
        using var checkpoint = Checkpoint.Open(path);
        var tensor = Assert.Single(checkpoint.LogicalTensors);
        Assert.Equal(name, tensor.Description);
        Assert.Null(tensor.Quantization);
        var error = Assert.Throws<CheckpointException>(() => tensor.ReadFloat());
        Assert.Contains("\"w\"", error.Message);
        Assert.Contains(name, error.Message);
    }

    [Fact]
    public void VersionTwoIsRead()
    {
        string path = _folder["a.gguf"];
        byte[] bytes = [.. Header([Tensor("w", 0, 0, 2)]), .. BitConverter.GetBytes(1.5f), .. BitConverter.GetBytes(-2f)];
        bytes[4] = 2;
        File.WriteAllBytes(path, bytes);
        using var checkpoint = Checkpoint.Open(path);
        using var values = checkpoint.LogicalTensors[0].ReadFloat();
        Assert.Equal([1.5f, -2f], values.data<float>().ToArray());
    }

    private static byte[] Header(byte[][] tensors, params byte[][] pairs)
    {
        byte[] header = [.. "GGUF"u8, .. U32(3), .. U64((ulong)tensors.Length), .. U64((ulong)pairs.Length), .. pairs.SelectMany(p => p), .. tensors.SelectMany(t => t)];
        return [.. header, .. new byte[((header.Length + 31) / 32 * 32) - header.Length]];
    }

    private static byte[] Tensor(string name, uint type, ulong offset, params ulong[] axes) =>
        [.. Text(name), .. U32((uint)axes.Length), .. axes.SelectMany(U64), .. U32(type), .. U64(offset)];

    private static byte[] Text(string text, ulong? length = null) => [.. U64(length ?? (ulong)text.Length), .. Encoding.UTF8.GetBytes(text)];

    private static byte[] U32(uint value)
    {
        var bytes = new byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        return bytes;
    }

    private static byte[] U64(ulong value)
    {
        var bytes = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        return bytes;
    }
}
