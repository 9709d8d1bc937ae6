using System.Text;
using QwixSharp.Checkpoints;

namespace QwixSharp.Tests.Checkpoints;

/// <summary>Headers that lie: each is refused with one line that names the file, and the tensor where there is one.</summary>
public sealed class SafetensorsBadInputTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    /// <summary>Headers for eight bytes of data, and a part of the message.</summary>
    public static TheoryData<string, string> Lies => new()
    {
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,9]}}""", "\"a\" has the data_offsets [0, 9]" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}""", "\"a\" has the data_offsets [8, 0]" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}""", "\"a\" has a data_offsets with what is not a whole number" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,9223372036854775808]}}""", "not a whole number" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[9223372036854775800,9223372036854775807]}}""", "cut short or damaged" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0]}}""", "two data_offsets" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4,8]}}""", "more than 2 numbers" },
        { """{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}""", "takes 4 bytes by its shape [1], but 8 by its data_offsets" },
        { """{"a":{"dtype":"F32","shape":[3037000500,3037000500,2],"data_offsets":[0,8]}}""", "more elements than can be counted" },
        { """{"a":{"dtype":"F32","shape":[0,4611686018427387904,8],"data_offsets":[0,0]}}""", "more elements than can be counted" },
        { """{"a":{"dtype":"F32","shape":[2.5],"data_offsets":[0,8]}}""", "not a whole number" },
        { """{"a":{"dtype":"F32","shape":["2"],"data_offsets":[0,8]}}""", "not a whole number" },
        { """{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,8]}}""", "end within a byte" },
        { """{"a":{"dtype":"Q9","shape":[2],"data_offsets":[0,8]}}""", "has the dtype \"Q9\"" },
        { """{"a":{"dtype":7,"shape":[2],"data_offsets":[0,8]}}""", "dtype that is not text" },
        { """{"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", "\"a\" has dtype twice" },
        { """{"a":{"shape":[2],"data_offsets":[0,8]}}""", "needs a dtype" },
        { """{"a":7}""", "\"a\" is not described by an object" },
        { """{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}""", "\"b\" overlaps" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", "overlaps" },
        { """{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}""", "\"a\" leaves a hole of 4 bytes" },
        { """{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}""", "4 bytes after its last tensor" },
        { """{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", "has \"a\" twice" },
        { """{"__metadata__":{"k":1},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", "__metadata__ \"k\" is not text" },
        { """{"__metadata__":{"k":"1","k":"2"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", "has \"k\" twice" },
        { """{"__metadata__":[],"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}""", "__metadata__ is not an object" },
        { """[]""", "not a JSON object" },
        { """{"a":""", "not valid JSON" },
        { """{} {}""", "not valid JSON" },
        { "", "not valid JSON" },
        { "{\"a\":" + new string('[', 5000) + new string(']', 5000) + "}", "not described by an object" },
        { "{\"a\":{\"x\":" + new string('[', 5000) + new string(']', 5000) + "}}", "not valid JSON" },
        { "{\"a\":{\"dtype\":\"I8\",\"shape\":[" + string.Join(",", Enumerable.Repeat(1, 65)) + "],\"data_offsets\":[0,8]}}", "more than 64 numbers" },
    };

    public void Dispose() => _folder.Dispose();

    [Theory]
    [MemberData(nameof(Lies))]
    public void ALyingHeaderIsRefused(string header, string message) => Refused(File(Encoding.UTF8.GetBytes(header), 8), message);

    [Fact]
    public void BytesThatAreNotTextAreRefused()
    {
        byte[] header = [.. "{\""u8, 0xC3, 0x28, .. "\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}"u8];
        Refused(File(header, 8), "not valid JSON");
    }

    [Fact]
    public void NamesCannotBreakTheMessage()
    {
        var header = """{"a\n\u001b[31m\ud83d":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}}""";
        Refused(File(Encoding.UTF8.GetBytes(header), 8), "");
        Refused(File(Encoding.UTF8.GetBytes($$$"""{"{{{new string('x', 1 << 20)}}}\u001b":{"dtype":"F33","shape":[2],"data_offsets":[0,8]}}"""), 8), "xxx…");
    }

    [Theory]
    [InlineData(0L)]
    [InlineData(-1L)]
    [InlineData(long.MinValue)]
    [InlineData(long.MaxValue)]
    [InlineData(1L << 40)]
    public void ALengthThatTheFileDoesNotHaveIsRefused(long length)
    {
        System.IO.File.WriteAllBytes(_folder["a.safetensors"], [.. BitConverter.GetBytes(length), .. "{}"u8]);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Refused(_folder["a.safetensors"], "");
        Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 1 << 20, "memory follows the file, not its header");
    }

    [Theory]
    [InlineData(0)]
    [InlineData(7)]
    [InlineData(20)]
    [InlineData(-1)]
    public void ATruncatedFileIsRefused(int length)
    {
        var bytes = System.IO.File.ReadAllBytes(File("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"""u8, 8));
        System.IO.File.WriteAllBytes(_folder["a.safetensors"], bytes[..(length < 0 ? bytes.Length + length : length)]);
        Refused(_folder["a.safetensors"], "");
    }

    [Fact]
    public void AFileThatIsCutShortAfterItWasOpenedIsNoCrash()
    {
        using var checkpoint = Checkpoint.Open(File("""{"a":{"dtype":"I8","shape":[100000],"data_offsets":[0,100000]}}"""u8, 100_000));
        _ = checkpoint.GetBytes("a", 0, 100_000)[99_999];
        using (var file = new FileStream(_folder["a.safetensors"], FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete))
            Assert.SkipWhen(!TryCut(file), "The system keeps the file from being cut while it is open.");
        Assert.Throws<CheckpointException>(() => checkpoint.Read("a"));
        Assert.Throws<CheckpointException>(() => checkpoint.GetBytes("a", 0, 100_000).Length);

        static bool TryCut(FileStream file)
        {
            file.SetLength(1000);
            return true;
        }
    }

    [Fact]
    public void WhatIsNotThereIsNamed()
    {
        using var checkpoint = Checkpoint.Open(File("""{"layer.weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"""u8, 8));
        var error = Assert.Throws<CheckpointException>(() => checkpoint.Read("weight"));
        Assert.Contains("no tensor \"weight\"", error.Message);
        Assert.Contains("\"layer.weight\"", error.Message);
        Assert.Throws<ArgumentOutOfRangeException>(() => checkpoint.ReadBytes("layer.weight", new byte[4], 5));
        Assert.Throws<ArgumentOutOfRangeException>(() => checkpoint.ReadBytes("layer.weight", new byte[4], -1));
        Assert.Throws<ArgumentOutOfRangeException>(() => checkpoint.GetBytes("layer.weight", long.MaxValue, 4).Length);
    }

    [Fact]
    public void APathThatIsNoCheckpointIsRefused()
    {
        Assert.Contains("no such file", Assert.Throws<CheckpointException>(() => Checkpoint.Open(_folder["none.safetensors"])).Message);
        Assert.Contains("no checkpoint", Assert.Throws<CheckpointException>(() => Checkpoint.Open(_folder.Path)).Message);
        System.IO.File.WriteAllText(_folder["a.txt"], "hello, this is text");
        Assert.Contains("is no checkpoint", Assert.Throws<CheckpointException>(() => Checkpoint.Open(_folder["a.txt"])).Message);
        System.IO.File.Copy(File("{}"u8, 0), _folder["b.safetensors"]);
        Assert.Contains("2 files *.safetensors", Assert.Throws<CheckpointException>(() => Checkpoint.Open(_folder.Path)).Message);
    }

    [Fact]
    public void AClosedCheckpointReadsNothing()
    {
        var checkpoint = Checkpoint.Open(File("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"""u8, 8));
        _ = checkpoint.GetBytes("a", 0, 8).Length;
        checkpoint.Dispose();
        checkpoint.Dispose();
        Assert.Throws<ObjectDisposedException>(() => checkpoint.Read("a"));
        Assert.Throws<ObjectDisposedException>(() => checkpoint.GetBytes("a", 0, 8).Length);
    }

    private string File(ReadOnlySpan<byte> header, int data)
    {
        System.IO.File.WriteAllBytes(_folder["a.safetensors"], [.. BitConverter.GetBytes((long)header.Length), .. header, .. new byte[data]]);
        return _folder["a.safetensors"];
    }

    private static void Refused(string path, string message)
    {
        var error = Assert.Throws<CheckpointException>(() => Checkpoint.Open(path));
        Assert.Contains(message, error.Message);
        Assert.Contains("a.safetensors", error.Message);
        Assert.False(error.Message.Any(char.IsControl), error.Message);
        Assert.True(error.Message.Length < 1000, error.Message);
    }
}
