using System.Buffers.Binary;
using System.Numerics;
using QwixSharp.Checkpoints.Files;
using static QwixSharp.Checkpoints.CheckpointException;

namespace QwixSharp.Checkpoints.Gguf;

/// <summary>Where a tensor of a GGUF file is and how it is stored.</summary>
/// <param name="Name">The tensor's name.</param>
/// <param name="Type">How its values are stored.</param>
/// <param name="Shape">The shape in PyTorch's order: the axis that lies contiguous in memory is the last.</param>
/// <param name="Offset">The offset of its first byte in the file.</param>
/// <param name="ByteLength">The bytes it takes.</param>
internal sealed record GgufTensor(string Name, GgufTensorType Type, long[] Shape, long Offset, long ByteLength);

/// <summary>What a GGUF file says before its tensors' data. Format: the GGUF specification of ggml, versions 2 and 3.</summary>
internal sealed class GgufHeader
{
    /// <summary>The first four bytes of a file, "GGUF".</summary>
    internal const uint Magic = 0x46554747;

    /// <summary>The alignment of tensors unless the metadata give another.</summary>
    internal const int DefaultAlignment = 32;

    /// <summary>The metadata key of the alignment.</summary>
    internal const string AlignmentKey = "general.alignment";

    /// <summary>The most axes of a tensor in ggml.</summary>
    internal const int MaxRank = 4;

    private const int MinTensorSize = 8 + 4 + 4 + 8;
    private const int MinPairSize = 8 + 4 + 1;

    private GgufHeader(int version, OrderedDictionary<string, object> metadata, List<GgufTensor> tensors)
    {
        Version = version;
        Metadata = metadata;
        Tensors = tensors;
    }

    internal int Version { get; }

    internal OrderedDictionary<string, object> Metadata { get; }

    /// <summary>The tensors in the order of the file.</summary>
    internal List<GgufTensor> Tensors { get; }

    /// <summary>Whether a file begins as GGUF does.</summary>
    internal static bool IsGguf(CheckpointFile file) => file.Length >= 4 && BinaryPrimitives.ReadUInt32LittleEndian(file.Span(0, 4)) == Magic;

    /// <summary>Reads and checks a header.</summary>
    /// <exception cref="CheckpointException">The header is not one of GGUF, or says what cannot be.</exception>
    internal static GgufHeader Read(CheckpointFile file)
    {
        var reader = new GgufHeaderReader(file);
        if (reader.ReadUInt32("the magic number") != Magic)
            throw new CheckpointException($"{Quote(file.Path)} is not a GGUF file: it does not begin with the letters GGUF.");
        int version = ReadVersion(file, ref reader);
        int tensorCount = reader.ReadCount(MinTensorSize, "tensors");
        int pairCount = reader.ReadCount(MinPairSize, "metadata");

        var metadata = new OrderedDictionary<string, object>(StringComparer.Ordinal);
        for (int i = 0; i < pairCount; i++)
        {
            string key = reader.ReadString("a metadata key");
            if (!metadata.TryAdd(key, reader.ReadValue(key)))
                throw new CheckpointException($"{Quote(file.Path)} has the metadata key {Quote(key)} twice.");
        }

        uint alignment = Alignment(file, metadata);
        var tensors = new List<GgufTensor>();
        var names = new HashSet<string>(StringComparer.Ordinal);
        for (int i = 0; i < tensorCount; i++)
        {
            var tensor = ReadTensor(file, ref reader);
            if (!names.Add(tensor.Name))
                throw new CheckpointException($"{Quote(file.Path)} has the tensor {Quote(tensor.Name)} twice.");
            tensors.Add(tensor);
        }

        long dataStart = Align(reader.Position, alignment);
        for (int i = 0; i < tensors.Count; i++)
            tensors[i] = Place(file, tensors[i], dataStart, alignment);
        CheckOverlaps(file, tensors);
        return new GgufHeader(version, metadata, tensors);
    }

    /// <summary>The next multiple of an alignment.</summary>
    internal static long Align(long offset, long alignment) => (offset + alignment - 1) / alignment * alignment;

    /// <summary>The bytes of a tensor.</summary>
    /// <exception cref="FormatException">There cannot be such a tensor; the message says why.</exception>
    internal static long CountBytes(GgufTensorType type, ReadOnlySpan<long> shape)
    {
        long last = shape.Length == 0 ? 1 : shape[^1];
        if (last % type.BlockLength != 0)
            throw new FormatException($"its last axis has {last} values, but {type} needs a multiple of {type.BlockLength}");
        long count = 1;
        try
        {
            // Lengths beside a zero are counted too: libtorch multiplies them.
            foreach (long length in shape)
                count = checked(count * Math.Max(length, 1));
            count = checked(count * type.BlockSize);
        }
        catch (OverflowException error)
        {
            throw new FormatException("its shape has more elements than can be counted", error);
        }

        return shape.Contains(0) ? 0 : count / type.BlockLength;
    }

    private static int ReadVersion(CheckpointFile file, ref GgufHeaderReader reader)
    {
        uint version = reader.ReadUInt32("the version");
        if (version is 2 or 3)
            return (int)version;
        string reason = BinaryPrimitives.ReverseEndianness(version) is 2 or 3
            ? "is big-endian, which is not read. Get the little-endian file."
            : $"has version {version} of GGUF, but only 2 and 3 are read. Convert it with llama.cpp's tools.";
        throw new CheckpointException($"{Quote(file.Path)} {reason}");
    }

    private static uint Alignment(CheckpointFile file, OrderedDictionary<string, object> metadata)
    {
        if (!metadata.TryGetValue(AlignmentKey, out var value))
            return DefaultAlignment;
        return value is uint alignment && BitOperations.IsPow2(alignment)
            ? alignment
            : throw new CheckpointException($"{Quote(file.Path)} gives \"{AlignmentKey}\" as {value}, but it is a uint32 that is a power of two.");
    }

    private static GgufTensor ReadTensor(CheckpointFile file, ref GgufHeaderReader reader)
    {
        string name = reader.ReadString("a tensor's name"), what = $"the description of the tensor {Quote(name)}";
        uint rank = reader.ReadUInt32(what);
        if (rank > MaxRank)
            throw new CheckpointException($"{Quote(file.Path)} gives the tensor {Quote(name)} {rank} axes, but at most {MaxRank} are possible.");
        var shape = new long[rank];
        for (int axis = shape.Length - 1; axis >= 0; axis--)
        {
            ulong length = reader.ReadUInt64(what);
            shape[axis] = length <= long.MaxValue ? (long)length : throw new CheckpointException($"{Quote(file.Path)} gives the tensor {Quote(name)} an axis of {length}.");
        }

        uint id = reader.ReadUInt32(what);
        var type = GgufTensorType.Find(id) ?? throw new CheckpointException($"{Quote(file.Path)} gives the tensor {Quote(name)} the unknown type {id}.");
        ulong offset = reader.ReadUInt64(what);
        if (offset > long.MaxValue)
            throw new CheckpointException($"{Quote(file.Path)} places the tensor {Quote(name)} at {offset}, beyond its end.");
        try
        {
            return new GgufTensor(name, type, shape, (long)offset, CountBytes(type, shape));
        }
        catch (FormatException error)
        {
            throw new CheckpointException($"{Quote(file.Path)} has a tensor {Quote(name)} that cannot be: {error.Message}.", error);
        }
    }

    private static GgufTensor Place(CheckpointFile file, GgufTensor tensor, long dataStart, uint alignment)
    {
        if (tensor.Offset % alignment != 0)
            throw new CheckpointException($"{Quote(file.Path)} places the tensor {Quote(tensor.Name)} at {tensor.Offset}, which is not a multiple of the alignment {alignment}.");
        if (tensor.ByteLength > 0 && (tensor.ByteLength > file.Length - dataStart || tensor.Offset > file.Length - dataStart - tensor.ByteLength))
            throw new CheckpointException($"{Quote(file.Path)} ends before the {tensor.ByteLength} bytes of the tensor {Quote(tensor.Name)}. The file is cut short: get it again.");
        return tensor with { Offset = tensor.ByteLength == 0 ? dataStart : dataStart + tensor.Offset };
    }

    private static void CheckOverlaps(CheckpointFile file, List<GgufTensor> tensors)
    {
        GgufTensor? last = null;
        foreach (var tensor in tensors.Where(t => t.ByteLength > 0).OrderBy(t => t.Offset))
        {
            if (last is not null && tensor.Offset < last.Offset + last.ByteLength)
                throw new CheckpointException($"{Quote(file.Path)} places the tensors {Quote(last.Name)} and {Quote(tensor.Name)} over each other.");
            last = tensor;
        }
    }
}
