using Google.FlatBuffers;
using QwixSharp.Arrays;
using QwixSharp.LiteRT.Graphs;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT;

/// <summary>Writes the constants of a graph into a file's buffers, some rows at a time: beside the file no weight is in memory once more.</summary>
internal sealed class BufferWriter(FlatBufferBuilder builder)
{
    private const int Alignment = 16;
    private const int SmallBytes = 4096;
    private const long PartBytes = 1 << 20;

    private readonly Dictionary<string, int> _known = [];

    /// <summary>The data of each buffer; the first is that of tensors without values.</summary>
    internal List<VectorOffset?> Buffers { get; } = [null];

    /// <summary>The number of the buffer that holds a constant; equal small constants share one.</summary>
    internal int Add(GraphTensor constant)
    {
        using var scope = NewDisposeScope();
        if (constant.Type == LiteRtType.Int4)
            return Add(Pack(constant.Constant!.contiguous().bytes));
        var stored = constant.Stored!;
        long bytes = constant.Elements * stored.ElementSize;
        // Views of one tensor with the same strides are the same bytes, as tied embeddings are.
        string? key = bytes <= SmallBytes
            ? Convert.ToHexString(constant.Constant!.contiguous().bytes)
            : constant.Factor is null ? $"{TensorMemory.Address(stored)} {string.Join(',', stored.stride())} {string.Join(',', stored.shape)} {stored.dtype}" : null;
        if (key is not null && _known.TryGetValue(key, out int known))
            return known;
        Start(bytes);
        if (constant.Rank == 0 || bytes <= PartBytes)
            Put(constant);
        else
            PutRows(constant, Math.Max(1, PartBytes * constant.Shape[0] / bytes));
        int number = End();
        if (key is not null)
            _known[key] = number;
        return number;
    }

    /// <summary>The number of a buffer with some bytes.</summary>
    internal int Add(ReadOnlySpan<byte> bytes)
    {
        Start(bytes.Length);
        Put(bytes);
        return End();
    }

    private void Start(long bytes)
    {
        if (builder.Offset + bytes + SmallBytes > ModelWriter.Limit)
            throw new LiteRtException("The file would take more than 2 GB, which the format does not allow. Quantize the weights, or split the model.");
        builder.StartVector(1, (int)bytes, Alignment);
    }

    private int End()
    {
        Buffers.Add(builder.EndVector());
        return Buffers.Count - 1;
    }

    /// <summary>FlatBuffers are written from their end.</summary>
    private void PutRows(GraphTensor constant, long rows)
    {
        for (long end = constant.Shape[0]; end > 0; end -= rows)
        {
            using var scope = NewDisposeScope();
            long start = Math.Max(0, end - rows);
            Put(constant.Rows(start, end - start));
        }
    }

    private void Put(GraphTensor constant) => Put(constant.Constant!.contiguous().bytes);

    private unsafe void Put(ReadOnlySpan<byte> bytes)
    {
        fixed (byte* first = bytes)
        {
            if (bytes.Length > 0)
                builder.Add<byte>((IntPtr)first, bytes.Length);
        }
    }

    /// <summary>Two codes a byte, the first in the low half.</summary>
    private static byte[] Pack(ReadOnlySpan<byte> codes)
    {
        var packed = new byte[(codes.Length + 1) / 2];
        for (int i = 0; i < codes.Length; i++)
            packed[i / 2] |= (byte)((codes[i] & 15) << (4 * (i % 2)));
        return packed;
    }
}
