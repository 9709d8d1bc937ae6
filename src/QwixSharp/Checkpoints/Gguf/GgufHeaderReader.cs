using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using QwixSharp.Checkpoints.Files;

namespace QwixSharp.Checkpoints.Gguf;

/// <summary>Reads the parts of a header one after another; counts and lengths are believed only as far as the file goes.</summary>
internal ref struct GgufHeaderReader(CheckpointFile file)
{
    private const int WindowSize = 1 << 20;
    private const int MaxArrayDepth = 8;
    private const int MaxStringLength = 1 << 28;
    private static readonly UTF8Encoding StrictUtf8 = new(false, throwOnInvalidBytes: true);

    private readonly CheckpointFile _file = file;
    private ReadOnlySpan<byte> _rest;
    private long _windowEnd;

    /// <summary>The offset of the next part.</summary>
    internal readonly long Position => _windowEnd - _rest.Length;

    internal uint ReadUInt32(string what) => BinaryPrimitives.ReadUInt32LittleEndian(Take(4, what));

    internal ulong ReadUInt64(string what) => BinaryPrimitives.ReadUInt64LittleEndian(Take(8, what));

    /// <summary>A number of things that take at least so many bytes each.</summary>
    internal int ReadCount(int minSize, string what)
    {
        ulong count = ReadUInt64(what);
        long left = _file.Length - Position;
        if (count > (ulong)(left / minSize) || count > (ulong)Array.MaxLength)
            throw new CheckpointException($"{CheckpointException.Quote(_file.Path)} announces {count} of {what}, but only {left} bytes follow. The file is damaged: get it again.");
        return (int)count;
    }

    internal string ReadString(string what)
    {
        int length = ReadCount(1, "the bytes of " + what);
        if (length > MaxStringLength)
            throw new CheckpointException($"{CheckpointException.Quote(_file.Path)} has {length} bytes in {what}, more than {MaxStringLength}.");
        var bytes = Take(length, what);
        try
        {
            return StrictUtf8.GetString(bytes);
        }
        catch (DecoderFallbackException error)
        {
            throw new CheckpointException($"{CheckpointException.Quote(_file.Path)} has bytes that are not UTF-8 in {what}.", error);
        }
    }

    /// <summary>A metadata value with its kind before it: a number, a bool, a string or an array of one of these.</summary>
    internal object ReadValue(string key)
    {
        string what = $"the value of {CheckpointException.Quote(key)}";
        var type = ReadType(what);
        return type == GgufValueType.Array ? ReadArray(what, depth: 1) : ReadScalar(type, what);
    }

    private object ReadScalar(GgufValueType type, string what) => type switch
    {
        GgufValueType.UInt8 => Take(1, what)[0],
        GgufValueType.Int8 => (sbyte)Take(1, what)[0],
        GgufValueType.UInt16 => BinaryPrimitives.ReadUInt16LittleEndian(Take(2, what)),
        GgufValueType.Int16 => BinaryPrimitives.ReadInt16LittleEndian(Take(2, what)),
        GgufValueType.UInt32 => BinaryPrimitives.ReadUInt32LittleEndian(Take(4, what)),
        GgufValueType.Int32 => BinaryPrimitives.ReadInt32LittleEndian(Take(4, what)),
        GgufValueType.Float32 => BinaryPrimitives.ReadSingleLittleEndian(Take(4, what)),
        GgufValueType.Bool => Take(1, what)[0] != 0,
        GgufValueType.String => ReadString(what),
        GgufValueType.UInt64 => BinaryPrimitives.ReadUInt64LittleEndian(Take(8, what)),
        GgufValueType.Int64 => BinaryPrimitives.ReadInt64LittleEndian(Take(8, what)),
        _ => BinaryPrimitives.ReadDoubleLittleEndian(Take(8, what)),
    };

    private Array ReadArray(string what, int depth)
    {
        if (depth > MaxArrayDepth)
            throw new CheckpointException($"{CheckpointException.Quote(_file.Path)} has arrays more than {MaxArrayDepth} deep in {what}.");
        var type = ReadType(what);
        int count = ReadCount(type.MinSize(), "elements of " + what);
        switch (type)
        {
            case GgufValueType.UInt8: return ReadNumbers<byte>(count, what);
            case GgufValueType.Int8: return ReadNumbers<sbyte>(count, what);
            case GgufValueType.UInt16: return ReadNumbers<ushort>(count, what);
            case GgufValueType.Int16: return ReadNumbers<short>(count, what);
            case GgufValueType.UInt32: return ReadNumbers<uint>(count, what);
            case GgufValueType.Int32: return ReadNumbers<int>(count, what);
            case GgufValueType.Float32: return ReadNumbers<float>(count, what);
            case GgufValueType.UInt64: return ReadNumbers<ulong>(count, what);
            case GgufValueType.Int64: return ReadNumbers<long>(count, what);
            case GgufValueType.Float64: return ReadNumbers<double>(count, what);
            case GgufValueType.Bool: return Array.ConvertAll(ReadNumbers<byte>(count, what), b => b != 0);
            case GgufValueType.String:
                var strings = new string[count];
                foreach (ref var text in strings.AsSpan())
                    text = ReadString(what);
                return strings;
            default:
                var arrays = new Array[count];
                foreach (ref var array in arrays.AsSpan())
                    array = ReadArray(what, depth + 1);
                return arrays;
        }
    }

    private T[] ReadNumbers<T>(int count, string what) where T : unmanaged
    {
        var numbers = new T[count];
        var bytes = MemoryMarshal.AsBytes(numbers.AsSpan());
        for (int taken = 0; taken < bytes.Length; taken += WindowSize)
        {
            int length = Math.Min(WindowSize, bytes.Length - taken);
            Take(length, what).CopyTo(bytes[taken..]);
        }

        return numbers;
    }

    private GgufValueType ReadType(string what)
    {
        uint type = ReadUInt32(what);
        return type <= (uint)GgufValueType.Float64
            ? (GgufValueType)type
            : throw new CheckpointException($"{CheckpointException.Quote(_file.Path)} gives {what} the unknown kind {type}.");
    }

    private ReadOnlySpan<byte> Take(int length, string what)
    {
        if (length > _rest.Length)
        {
            long position = Position;
            if (length > _file.Length - position)
                throw new CheckpointException($"{CheckpointException.Quote(_file.Path)} ends within {what}. The file is damaged: get it again.");
            int window = (int)Math.Max(length, Math.Min(WindowSize, _file.Length - position));
            _rest = _file.Span(position, window);
            _windowEnd = position + window;
        }

        var taken = _rest[..length];
        _rest = _rest[length..];
        return taken;
    }
}
