using System.Buffers.Binary;
using System.Text;

namespace QwixSharp.LiteRT.FlatBuffers;

/// <summary>
/// A table in a FlatBuffers file that need not be trusted: every read checks that it lies inside of the file. Offsets lead
/// forward from unsigned fields, so a chain of them always ends.
/// </summary>
internal readonly struct FlatTable
{
    private readonly FlatFile _file;
    private readonly int _start;
    private readonly int _vtable;
    private readonly int _vtableLength;

    internal FlatTable(FlatFile file, long start)
    {
        _file = file;
        file.Charge(16);
        _start = file.Check(start, 4);
        _vtable = file.Check(start - BinaryPrimitives.ReadInt32LittleEndian(file.Span[_start..]), 4);
        _vtableLength = BinaryPrimitives.ReadUInt16LittleEndian(file.Span[_vtable..]);
        file.Check(_vtable, _vtableLength);
        if (_vtableLength < 4)
            throw new LiteRtException($"The file is damaged: the layout of the table at byte {start} is {_vtableLength} bytes long.");
    }

    internal int Int32(int field, int otherwise = 0) => FieldAt(field, 4) is { } at ? BinaryPrimitives.ReadInt32LittleEndian(_file.Span[at..]) : otherwise;

    internal ulong UInt64(int field) => FieldAt(field, 8) is { } at ? BinaryPrimitives.ReadUInt64LittleEndian(_file.Span[at..]) : 0;

    internal float Single(int field, float otherwise = 0) => FieldAt(field, 4) is { } at ? BinaryPrimitives.ReadSingleLittleEndian(_file.Span[at..]) : otherwise;

    internal byte Byte(int field, byte otherwise = 0) => FieldAt(field, 1) is { } at ? _file.Span[at] : otherwise;

    internal FlatTable? Table(int field) => Follow(field) is { } at ? new FlatTable(_file, at) : null;

    /// <summary>A string of the file; a missing one is empty.</summary>
    internal string Text(int field) => Follow(field) is { } at ? Encoding.UTF8.GetString(Elements(at, 1).Span) : "";

    internal ReadOnlyMemory<byte> Bytes(int field) => Follow(field) is { } at ? Elements(at, 1) : default;

    internal int[] Int32s(int field) => Numbers(field, 4, BinaryPrimitives.ReadInt32LittleEndian);

    internal long[] Int64s(int field) => Numbers(field, 8, BinaryPrimitives.ReadInt64LittleEndian);

    internal float[] Singles(int field) => Numbers(field, 4, BinaryPrimitives.ReadSingleLittleEndian);

    internal FlatTable[] Tables(int field)
    {
        if (Follow(field) is not { } at)
            return [];
        var offsets = Elements(at, 4);
        var tables = new FlatTable[offsets.Length / 4];
        for (int i = 0; i < tables.Length; i++)
        {
            int slot = at + 4 + (4 * i);
            tables[i] = new FlatTable(_file, slot + (long)BinaryPrimitives.ReadUInt32LittleEndian(_file.Span[slot..]));
        }

        return tables;
    }

    private delegate T Reader<T>(ReadOnlySpan<byte> source);

    private T[] Numbers<T>(int field, int size, Reader<T> read)
    {
        if (Follow(field) is not { } at)
            return [];
        var bytes = Elements(at, size).Span;
        var numbers = new T[bytes.Length / size];
        for (int i = 0; i < numbers.Length; i++)
            numbers[i] = read(bytes[(i * size)..]);
        return numbers;
    }

    /// <summary>The elements of the vector that starts with its count at a place.</summary>
    private ReadOnlyMemory<byte> Elements(int at, int size)
    {
        long length = (long)BinaryPrimitives.ReadUInt32LittleEndian(_file.Span[_file.Check(at, 4)..]) * size;
        _file.Charge(length);
        return _file.Slice(at + 4L, length);
    }

    private int? Follow(int field) =>
        FieldAt(field, 4) is { } at ? _file.Check(at + (long)BinaryPrimitives.ReadUInt32LittleEndian(_file.Span[at..]), 4) : null;

    /// <summary>Where a field's value is, or null where the table does not have it.</summary>
    private int? FieldAt(int field, int size)
    {
        int entry = 4 + (2 * field);
        if (entry + 2 > _vtableLength)
            return null;
        int offset = BinaryPrimitives.ReadUInt16LittleEndian(_file.Span[(_vtable + entry)..]);
        return offset == 0 ? null : _file.Check(_start + (long)offset, size);
    }
}
