using System.Buffers.Binary;

namespace QwixSharp.LiteRT.FlatBuffers;

/// <summary>
/// The bytes of a FlatBuffers file that need not be trusted. Offsets may lead many tables to the same bytes, so what is
/// read in total is limited too: a small file cannot describe endless work.
/// </summary>
internal sealed class FlatFile(ReadOnlyMemory<byte> bytes)
{
    private long _budget = (16L * bytes.Length) + (1 << 20);

    internal ReadOnlySpan<byte> Span => bytes.Span;

    internal int Length => bytes.Length;

    /// <summary>The table that the file's first offset leads to.</summary>
    internal FlatTable Root() => new(this, BinaryPrimitives.ReadUInt32LittleEndian(Span[Check(0, 4)..]));

    internal ReadOnlyMemory<byte> Slice(long at, long length) => bytes.Slice(Check(at, length), (int)length);

    /// <summary>A position, if some bytes that start there are inside of the file.</summary>
    internal int Check(long at, long length) => at >= 0 && length >= 0 && at + length <= bytes.Length
        ? (int)at
        : throw new LiteRtException($"The file is damaged: {length} bytes at {at} lie outside of its {bytes.Length} bytes.");

    internal void Charge(long count)
    {
        if ((_budget -= count) < 0)
            throw new LiteRtException("The file is damaged: its tables overlap so often that it describes far more than it holds.");
    }
}
