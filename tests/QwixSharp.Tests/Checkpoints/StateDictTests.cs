using System.IO.Compression;
using System.Text;
using QwixSharp.Checkpoints;
using QwixSharp.Checkpoints.Files;
using QwixSharp.Checkpoints.Pickle;
using TorchSharp;
using TorchSharp.PyBridge;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Checkpoints;

public sealed class StateDictTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly DisposeScope _scope = NewDisposeScope();

    public void Dispose()
    {
        _scope.Dispose();
        _folder.Dispose();
    }

    [Theory]
    [InlineData(ScalarType.Float32)]
    [InlineData(ScalarType.Float64)]
    [InlineData(ScalarType.BFloat16)]
    public void WhatPyBridgeSavesIsRead(ScalarType dtype)
    {
        string path = _folder["model.pt"];
        var model = nn.Sequential(("a", nn.Linear(5, 7)), ("n", nn.BatchNorm1d(7)), ("b", nn.Linear(7, 3, hasBias: false))).to(dtype);
        model.save_py(path);
        using var checkpoint = Checkpoint.Open(path);
        Assert.Equal("pytorch", checkpoint.Format);
        var state = model.state_dict();
        Assert.Equal(state.Keys.Order(StringComparer.Ordinal), checkpoint.Tensors.Select(t => t.Name).Order(StringComparer.Ordinal));
        foreach (var (name, value) in state)
            Assert.True(checkpoint.Read(name).Equals(value), name);
    }

    [Fact]
    public void ViewsBecomeContiguous()
    {
        // A transposed view of a storage of 8 floats, from its second element.
        using var checkpoint = Open([.. Tensor("w", "0", 8, offset: 1, shape: [3, 2], strides: [1, 3])], ("0", Floats(0, 1, 2, 3, 4, 5, 6, 7)));
        Assert.Equal([1f, 4f, 2f, 5f, 3f, 6f], checkpoint.Read("w").data<float>().ToArray());
        var bytes = new byte[8];
        checkpoint.ReadBytes("w", bytes, 4);
        Assert.Equal(Floats(4, 2), bytes);
        Assert.Contains("\"w\"", Assert.Throws<CheckpointException>(() => checkpoint.GetBytes("w", 0, 4).ToArray()).Message);
    }

    [Fact]
    public void ASizeThatCompressionCannotReachIsRefused()
    {
        byte[] bytes = Zip(CompressionLevel.Optimal, ("a/data.pkl", new byte[100]));
        int entry = bytes.AsSpan().LastIndexOf("PK\u0001\u0002"u8);
        BitConverter.TryWriteBytes(bytes.AsSpan(entry + 24), int.MaxValue);
        File.WriteAllBytes(_folder["bomb.pt"], bytes);
        Assert.Contains("\"a/data.pkl\"", Assert.Throws<CheckpointException>(() => Checkpoint.Open(_folder["bomb.pt"])).Message);
    }

    [Fact]
    public void DictsAroundTheStateDictAreSeenThrough()
    {
        byte[] inner = [.. Tensor("w", "0", 2, 0, [2], [1])];
        using var wrapped = Open([.. Key("epoch"), .. "K\u0003s"u8, .. Key("state_dict"), (byte)'}', .. inner, (byte)'s'], ("0", Floats(1, 2)));
        Assert.Equal("w", Assert.Single(wrapped.Tensors).Name);
        using var two = Open([.. Key("model"), (byte)'}', .. inner, (byte)'s', .. Key("ema"), (byte)'}', .. inner, (byte)'s'], ("0", Floats(1, 2)));
        Assert.Equal(["model.w", "ema.w"], two.Tensors.Select(t => t.Name));
    }

    [Fact]
    public void NoClassIsMade()
    {
        byte[] evil = [.. Key("w"), .. "cos\nsystem\n"u8, .. Key("true"), 0x85, .. "Rs"u8];
        Assert.Contains("\"os.system\"", Refused(evil));
        byte[] state = [.. Key("w"), .. "carrays\nThing\n)"u8, 0x81, .. "}bs"u8];
        Assert.Contains("arrays.Thing", Refused(state));
    }

    [Theory]
    [InlineData("-1", 2, 0L, 2L, 1L, "storage")]
    [InlineData("0", 2, 1L, 2L, 1L, "\"w\" does not lie within")]
    [InlineData("0", 2, -1L, 2L, 1L, "\"w\" does not lie within")]
    [InlineData("0", 2, 0L, 3L, 1L, "\"w\" does not lie within")]
    [InlineData("0", 2, 0L, 1000000L, 0L, "\"w\" does not lie within")]
    [InlineData("0", 2, 0L, 2L, -1L, "\"w\" does not lie within")]
    [InlineData("0", 2, 0L, 2L, 2000000000L, "\"w\" does not lie within")]
    [InlineData("0", 2, 0L, -2L, 1L, "\"w\" cannot be")]
    public void ATensorThatLeavesItsStorageIsRefused(string key, long count, long offset, long length, long stride, string message) =>
        Assert.Contains(message, Refused([.. Tensor("w", key, count, offset, [length], [stride])], ("0", Floats(1, 2))));

    [Fact]
    public void PicklesThatDoNotEndAreRefused()
    {
        // Lists of ten references each to the one before: 10^20 objects in 600 bytes. Then a list in itself.
        byte[] laughs =
        [
            .. Key("w"), .. "]q\00"u8,
            .. Enumerable.Range(0, 20).SelectMany(i => (byte[])[.. "]("u8, .. Enumerable.Repeat<byte[]>([(byte)'h', (byte)i], 10).SelectMany(b => b), (byte)'e', (byte)'q', (byte)(i + 1), (byte)'0']),
            (byte)'h', 20, (byte)'s',
        ];
        Assert.Contains("too deep", Refused(laughs));
        byte[] itself = [.. Key("w"), .. "]q\0h\0as"u8];
        Assert.Contains("too deep", Refused(itself));
        Assert.Contains("ends too early", Refused([(byte)'X', 0xFF, 0xFF, 0xFF, 0x7F]));
        Assert.Contains("opcode", Refused([.. "P"u8]));
        Assert.Contains("stack", Refused([.. "0000"u8]));
    }

    [Fact]
    public void FilesOfOtherKindsAreNamed()
    {
        File.WriteAllBytes(_folder["old.pt"], [0x80, 2, 0x8a, 10]);
        Assert.Contains("1.6", Assert.Throws<CheckpointException>(() => Checkpoint.Open(_folder["old.pt"])).Message);
        File.WriteAllBytes(_folder["zip.pt"], Zip(CompressionLevel.NoCompression, ("readme", [1])));
        Assert.Contains("data.pkl", Assert.Throws<CheckpointException>(() => Checkpoint.Open(_folder["zip.pt"])).Message);
        File.WriteAllBytes(_folder["script.pt"], Zip(CompressionLevel.NoCompression, ("a/data.pkl", [1]), ("a/constants.pkl", [1])));
        Assert.Contains("TorchScript", Assert.Throws<CheckpointException>(() => Checkpoint.Open(_folder["script.pt"])).Message);
    }

    private string Refused(byte[] items, params (string Key, byte[] Bytes)[] storages)
    {
        var error = Assert.Throws<CheckpointException>(() => Open(items, storages));
        Assert.DoesNotContain('\n', error.Message);
        return error.Message;
    }

    /// <summary>A file whose pickle is a dict with items.</summary>
    private Checkpoint Open(byte[] items, params (string Key, byte[] Bytes)[] storages)
    {
        string path = _folder["made.pt"];
        byte[] pickle = [0x80, 2, (byte)'}', .. items, (byte)'.'];
        File.WriteAllBytes(path, Zip(CompressionLevel.NoCompression, [("made/data.pkl", pickle), .. storages.Select(s => ($"made/data/{s.Key}", s.Bytes))]));
        return Checkpoint.Open(path);
    }

    private static byte[] Zip(CompressionLevel level, params (string Name, byte[] Bytes)[] entries)
    {
        using var stream = new MemoryStream();
        using (var archive = new ZipArchive(stream, ZipArchiveMode.Create, leaveOpen: true))
        {
            foreach (var (name, bytes) in entries)
            {
                using var entry = archive.CreateEntry(name, level).Open();
                entry.Write(bytes);
            }
        }

        return stream.ToArray();
    }

    [Fact]
    public void ACompressedEntryOfNoBytesHoldsNothing()
    {
        File.WriteAllBytes(_folder["empty.pt"], [1, 2, 3]);
        using var file = new CheckpointFile(_folder["empty.pt"]);
        var entry = new ZipEntry(0, 4, 0);
        Assert.Contains("damaged", Assert.Throws<CheckpointException>(() => entry.Read(file, new byte[4], 0)).Message);
        entry.Read(file, [], 0);
    }

    /// <summary>An item that is a float32 tensor, as torch.save pickles it.</summary>
    private static byte[] Tensor(string name, string storage, long count, long offset, long[] shape, long[] strides) =>
    [
        .. Key(name), .. "ctorch._utils\n_rebuild_tensor_v2\n(("u8, .. Key("storage"), .. "ctorch\nFloatStorage\n"u8, .. Key(storage), .. Key("cpu"), .. Number(count), (byte)'t', (byte)'Q',
        .. Number(offset), .. Tuple(shape), .. Tuple(strides), 0x89, .. "ccollections\nOrderedDict\n)RtRs"u8,
    ];

    private static byte[] Key(string text) => [(byte)'X', .. BitConverter.GetBytes(text.Length), .. Encoding.UTF8.GetBytes(text)];

    private static byte[] Number(long value) => [0x8a, 8, .. BitConverter.GetBytes(value)];

    private static byte[] Tuple(long[] values) => [(byte)'(', .. values.SelectMany(Number), (byte)'t'];

    private static byte[] Floats(params float[] values) => [.. values.SelectMany(BitConverter.GetBytes)];
}
