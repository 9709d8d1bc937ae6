using QwixSharp.Checkpoints;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Checkpoints;

/// <summary>A file appears whole or not at all, and what was there before stays until then.</summary>
public sealed class SafetensorsWriterTests : IDisposable
{
    private static readonly TensorEntry[] Two = [new("a", CheckpointDtype.Int8, [3]), new("b", CheckpointDtype.Int8, [3])];

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void AnExceptionInBetweenLeavesNothing()
    {
        File.WriteAllText(_folder["kept.safetensors"], "old");
        foreach (var name in new[] { "new.safetensors", "kept.safetensors" })
        {
            Assert.Throws<NotFiniteNumberException>(() => WriteHalf(_folder[name]));
            Assert.Equal(["kept.safetensors"], _folder.Names);
            Assert.Equal("old", File.ReadAllText(_folder["kept.safetensors"]));
        }

        void WriteHalf(string path)
        {
            using var writer = SafetensorsWriter.Create(path, Two);
            writer.Write("a", [1, 2, 3]);
            Assert.Contains(_folder.Names, n => n.EndsWith(".tmp", StringComparison.Ordinal));
            throw new NotFiniteNumberException();
        }
    }

    [Fact]
    public void ATensorThatWasNotWrittenInWholeIsNotForgotten()
    {
        using (var writer = SafetensorsWriter.CreateFolder(_folder["m"], Two, maxShardSize: 3))
        {
            writer.Write("a", [1, 2, 3]);
            writer.Write("b", [1, 2]);
            var error = Assert.Throws<InvalidOperationException>(writer.Complete);
            Assert.Contains("2 of the 3 bytes of the tensor \"b\"", error.Message);
        }

        Assert.Empty(Directory.GetFiles(_folder["m"], "*", new EnumerationOptions { AttributesToSkip = 0 }));
    }

    [Fact]
    public void WhatWasNotDeclaredSoIsRefused()
    {
        using var writer = SafetensorsWriter.Create(_folder["m.safetensors"], Two);
        using var floats = zeros(3);
        using var four = zeros(4, dtype: ScalarType.Int8);
        Assert.Contains("was not declared", Assert.Throws<ArgumentException>(() => writer.Write("c", [1])).Message);
        Assert.Contains("Float32 [3] was given", Assert.Throws<ArgumentException>(() => writer.Write("a", floats)).Message);
        Assert.Contains("Int8 [4] was given", Assert.Throws<ArgumentException>(() => writer.Write("a", four)).Message);
        Assert.Throws<ArgumentException>(() => writer.Write("a", [1, 2], 2));
        Assert.Throws<ArgumentException>(() => writer.Write("a", [1, 2], -1));
        writer.Write("a", [1, 2, 3]);
        writer.Write("b", [1, 2, 3]);
        writer.Complete();
        Assert.Throws<InvalidOperationException>(() => writer.Write("a", [1, 2, 3]));
    }

    [Fact]
    public void TwoTensorsOfOneNameAreRefused()
    {
        Assert.Throws<ArgumentException>(() => SafetensorsWriter.Create(_folder["m.safetensors"], [Two[0], Two[0]]));
        Assert.Throws<ArgumentException>(() => SafetensorsWriter.CreateFolder(_folder["m"], [Two[0], Two[0]], maxShardSize: 3));
        Assert.Equal(["m"], _folder.Names);
        Assert.Empty(Directory.GetFiles(_folder["m"]));
    }

    [Fact]
    public void ADiskWithoutRoomIsToldBeforeAnythingIsWritten()
    {
        long free = new DriveInfo(_folder.Path).AvailableFreeSpace;
        var error = Assert.Throws<CheckpointException>(() => SafetensorsWriter.Create(_folder["m.safetensors"], [new TensorEntry("a", CheckpointDtype.UInt8, [free + (1L << 40)])]));
        Assert.Contains("m.safetensors", error.Message);
        Assert.DoesNotContain(error.Message, char.IsControl);
        Assert.Empty(_folder.Names);
    }

    [Fact]
    public void ATargetThatCannotBeWrittenIsTold()
    {
        Assert.Contains("folder does not exist", Refused(_folder["none/m.safetensors"]));
        Directory.CreateDirectory(_folder["folder"]);
        Assert.Contains("it is a folder", Refused(_folder["folder"]));
        File.WriteAllText(_folder["file"], "");
        Assert.Contains("file", Refused(_folder["file/m.safetensors"]));
        Assert.Contains("Cannot make the folder", Assert.Throws<CheckpointException>(() => SafetensorsWriter.CreateFolder(_folder["file"], Two)).Message);
        new FileInfo(_folder["file"]).IsReadOnly = true;
        Assert.Contains("read-only", Refused(_folder["file"]));
        new FileInfo(_folder["file"]).IsReadOnly = false;
        Assert.Equal(["file", "folder"], _folder.Names);

        string Refused(string path) => Assert.Throws<CheckpointException>(() => SafetensorsWriter.Create(path, Two)).Message;
    }

    [Fact]
    public void ACheckpointCanBeReplacedWhileItIsRead()
    {
        Write(1);
        using var old = Checkpoint.Open(_folder["m.safetensors"]);
        Write(2);
        using var read = old.Read("a");
        Assert.Equal([1, 1, 1], read.data<sbyte>().ToArray());

        void Write(byte value)
        {
            using var writer = SafetensorsWriter.Create(_folder["m.safetensors"], Two);
            writer.Write("a", [value, value, value]);
            writer.Write("b", [value, value, value]);
            writer.Complete();
        }
    }

    [Theory]
    [InlineData(-1L)]
    [InlineData(1L << 62)]
    public void ATensorThatCannotBeIsRefused(long length) =>
        Assert.Throws<ArgumentException>(() => new TensorEntry("a", CheckpointDtype.Float32, [length]));
}
