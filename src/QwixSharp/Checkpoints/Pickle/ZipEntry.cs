using System.IO.Compression;
using QwixSharp.Checkpoints.Files;

namespace QwixSharp.Checkpoints.Pickle;

/// <summary>An entry of a zip file.</summary>
/// <param name="Offset">The offset of its first byte in the file.</param>
/// <param name="Length">The bytes it has when it is read.</param>
/// <param name="PackedLength">The bytes it has in the file where it is compressed; else null.</param>
internal readonly record struct ZipEntry(long Offset, long Length, long? PackedLength)
{
    /// <summary>Reads bytes of the entry.</summary>
    /// <param name="file">The zip file.</param>
    /// <param name="destination">Where they go.</param>
    /// <param name="offset">The first, counted from the start of the entry.</param>
    /// <exception cref="CheckpointException">The compressed bytes are damaged, or the file cannot be read.</exception>
    internal unsafe void Read(CheckpointFile file, Span<byte> destination, long offset)
    {
        if (PackedLength is not { } packedLength)
        {
            file.Read(destination, Offset + offset);
            return;
        }

        if (destination.IsEmpty)
            return;
        if (packedLength == 0)
            throw Damaged(file, null);
        fixed (byte* packed = file.Span(Offset, (int)packedLength))
        {
            using var stream = new DeflateStream(new UnmanagedMemoryStream(packed, packedLength), CompressionMode.Decompress);
            try
            {
                Skip(stream, offset);
                stream.ReadExactly(destination);
            }
            catch (Exception error) when (error is InvalidDataException or EndOfStreamException)
            {
                throw Damaged(file, error);
            }
        }
    }

    private static CheckpointException Damaged(CheckpointFile file, Exception? error)
    {
        var message = $"{CheckpointException.Quote(file.Path)} has compressed bytes that are damaged. Get it again.";
        return error is null ? new CheckpointException(message) : new CheckpointException(message, error);
    }

    private static void Skip(Stream stream, long count)
    {
        Span<byte> skipped = stackalloc byte[4096];
        for (; count > 0; count -= skipped.Length)
            stream.ReadExactly(skipped[..(int)Math.Min(skipped.Length, count)]);
    }
}
