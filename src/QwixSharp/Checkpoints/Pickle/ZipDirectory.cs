using System.Text;
using QwixSharp.Checkpoints.Files;
using static System.Buffers.Binary.BinaryPrimitives;

namespace QwixSharp.Checkpoints.Pickle;

/// <summary>
/// The entries of a zip file. Unlike the framework's archive this tells where they lie, so that tensors are read in place where
/// they are not compressed, as PyTorch writes them.
/// </summary>
/// <remarks>Format: PKWARE's APPNOTE 6.3, with Zip64.</remarks>
internal static class ZipDirectory
{
    private const int EndSize = 22;
    private const int MaxComment = ushort.MaxValue;
    private const int LocatorSize = 20;
    private const int End64Size = 56;
    private const int EntrySize = 46;
    private const int LocalSize = 30;
    private const uint EndSignature = 0x06054b50;
    private const uint LocatorSignature = 0x07064b50;
    private const uint End64Signature = 0x06064b50;
    private const uint EntrySignature = 0x02014b50;
    private const uint LocalSignature = 0x04034b50;
    private const ushort Zip64Field = 1;
    private const ushort Stored = 0;
    private const ushort Deflated = 8;

    /// <summary>The most bytes that deflate can make of one.</summary>
    private const long MaxRatio = 1032;

    /// <summary>Reads the directory.</summary>
    /// <exception cref="CheckpointException">It is damaged.</exception>
    internal static Dictionary<string, ZipEntry> Read(CheckpointFile file)
    {
        var (count, offset, size) = FindDirectory(file);
        if (offset < 0 || size < 0 || size > file.Length - offset || size > Array.MaxLength || count > size / EntrySize)
            throw Damaged(file, "its directory does not lie within it");
        var entries = new Dictionary<string, ZipEntry>(StringComparer.Ordinal);
        var rest = file.Span(offset, (int)size);
        for (long i = 0; i < count; i++)
        {
            if (rest.Length < EntrySize || ReadUInt32LittleEndian(rest) != EntrySignature)
                throw Damaged(file, "an entry of its directory is damaged");
            int nameLength = ReadUInt16LittleEndian(rest[28..]), extraLength = ReadUInt16LittleEndian(rest[30..]), commentLength = ReadUInt16LittleEndian(rest[32..]);
            if (rest.Length < EntrySize + nameLength + extraLength + commentLength)
                throw Damaged(file, "an entry of its directory is damaged");
            string name = Encoding.UTF8.GetString(rest.Slice(EntrySize, nameLength));
            var entry = ReadEntry(file, name, rest[..EntrySize], rest.Slice(EntrySize + nameLength, extraLength));
            if (!entries.TryAdd(name, entry))
                throw Damaged(file, $"it has two entries {CheckpointException.Quote(name)}");
            rest = rest[(EntrySize + nameLength + extraLength + commentLength)..];
        }

        return entries;
    }

    private static (long Count, long Offset, long Size) FindDirectory(CheckpointFile file)
    {
        int tailLength = (int)Math.Min(file.Length, EndSize + MaxComment);
        var tail = file.Span(file.Length - tailLength, tailLength);
        Span<byte> signature = stackalloc byte[4];
        WriteUInt32LittleEndian(signature, EndSignature);
        int end = tail.LastIndexOf(signature);
        if (end < 0 || tail.Length - end < EndSize)
            throw Damaged(file, "it has no directory at its end");
        var record = tail[end..];
        long locator = file.Length - tailLength + end - LocatorSize;
        if (locator >= 0 && file.Span(locator, LocatorSize) is var found && ReadUInt32LittleEndian(found) == LocatorSignature)
        {
            long end64 = ReadInt64LittleEndian(found[8..]);
            var record64 = end64 >= 0 && end64 <= file.Length - End64Size ? file.Span(end64, End64Size) : default;
            if (record64.IsEmpty || ReadUInt32LittleEndian(record64) != End64Signature)
                throw Damaged(file, "the end of its directory is damaged");
            return (ReadInt64LittleEndian(record64[32..]), ReadInt64LittleEndian(record64[48..]), ReadInt64LittleEndian(record64[40..]));
        }

        return (ReadUInt16LittleEndian(record[10..]), ReadUInt32LittleEndian(record[16..]), ReadUInt32LittleEndian(record[12..]));
    }

    private static ZipEntry ReadEntry(CheckpointFile file, string name, ReadOnlySpan<byte> entry, ReadOnlySpan<byte> extra)
    {
        long packedSize = ReadUInt32LittleEndian(entry[20..]), size = ReadUInt32LittleEndian(entry[24..]), local = ReadUInt32LittleEndian(entry[42..]);
        var wide = Find(extra, Zip64Field);
        TakeWide(ref size, ref wide);
        TakeWide(ref packedSize, ref wide);
        TakeWide(ref local, ref wide);
        ushort method = ReadUInt16LittleEndian(entry[10..]);
        if (method is not (Stored or Deflated))
            throw new CheckpointException($"{CheckpointException.Quote(file.Path)} has the entry {CheckpointException.Quote(name)} in a compression that PyTorch does not use. Save it again with torch.save.");
        if (local < 0 || local > file.Length - LocalSize || ReadUInt32LittleEndian(file.Span(local, LocalSize)) != LocalSignature)
            throw Damaged(file, $"its entry {CheckpointException.Quote(name)} is not where the directory says");
        var header = file.Span(local, LocalSize);
        long offset = local + LocalSize + ReadUInt16LittleEndian(header[26..]) + ReadUInt16LittleEndian(header[28..]);
        bool fits = packedSize >= 0 && offset <= file.Length && packedSize <= file.Length - offset;
        bool isPossible = method == Stored ? size == packedSize : size >= 0 && packedSize <= Array.MaxLength && size / MaxRatio <= packedSize;
        return fits && isPossible
            ? new ZipEntry(offset, size, method == Deflated ? packedSize : null)
            : throw Damaged(file, $"its entry {CheckpointException.Quote(name)} goes beyond its end, or cannot have its size");
    }

    /// <summary>Takes the 64-bit form of a number that did not fit into 32 bits; −1 where there is none.</summary>
    private static void TakeWide(ref long value, ref ReadOnlySpan<byte> wide)
    {
        if (value != uint.MaxValue)
            return;
        value = wide.Length >= 8 ? ReadInt64LittleEndian(wide) : -1;
        wide = wide.Length >= 8 ? wide[8..] : default;
    }

    private static ReadOnlySpan<byte> Find(ReadOnlySpan<byte> extra, ushort id)
    {
        while (extra.Length >= 4)
        {
            int length = Math.Min(ReadUInt16LittleEndian(extra[2..]), extra.Length - 4);
            if (ReadUInt16LittleEndian(extra) == id)
                return extra.Slice(4, length);
            extra = extra[(4 + length)..];
        }

        return default;
    }

    private static CheckpointException Damaged(CheckpointFile file, string why) =>
        new($"{CheckpointException.Quote(file.Path)} is no readable zip file, as torch.save writes them: {why}.");
}
