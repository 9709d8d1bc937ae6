using QwixSharp.Arrays;
using QwixSharp.Checkpoints.Files;
using QwixSharp.Checkpoints.Gguf.Blocks;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Gguf;

/// <summary>Makes tensors and QArrays of the blocks in a GGUF file.</summary>
internal static unsafe class GgufValues
{
    /// <summary>The bytes that are turned into values at a time, so that they stay in the cache.</summary>
    private const int ChunkSize = 1 << 18;

    private delegate void BlockSplitter(ReadOnlySpan<byte> blocks, Span<byte> codes, Span<float> scales);

    private sealed record BlockSplit(QType QType, int TileSize, BlockSplitter Action);

    /// <summary>The values of blocks in float32.</summary>
    /// <exception cref="CheckpointException">The type is one that is not read.</exception>
    internal static Tensor Read(CheckpointFile file, GgufTensor tensor)
    {
        if (tensor.Type.Decode is not { } decode)
            throw new CheckpointException($"The tensor {CheckpointException.Quote(tensor.Name)} of {CheckpointException.Quote(file.Path)} is stored as {tensor.Type}, which is not read. Requantize the file with llama.cpp's tools, to Q8_0 for instance.");
        var values = empty(tensor.Shape, dtype: ScalarType.Float32);
        try
        {
            float* address = (float*)TensorMemory.Address(values);
            int length = tensor.Type.BlockLength, size = tensor.Type.BlockSize;
            ForEachChunk(file, tensor, (bytes, firstBlock) => decode(bytes, new Span<float>(address + (firstBlock * length), bytes.Length / size * length)));
            return values;
        }
        catch
        {
            values.Dispose();
            throw;
        }
    }

    /// <summary>How <see cref="TryReadQArray"/> gives a tensor; null where it does not.</summary>
    internal static TensorQuantization? QuantizationOf(GgufTensor tensor) =>
        SplitOf(tensor.Type) is { } split ? new TensorQuantization(split.QType, ScaleShape(tensor.Shape, split.TileSize), HasZeroPoint: false) : null;

    /// <summary>
    /// The blocks as a QArray, without rounding: int8, int4 or int5 with tiles of 32 of Q8_0, Q4_0, Q5_0; int6 with tiles of 16
    /// of Q6_K. Null for other types: a float minimum has no zero point that is a code.
    /// </summary>
    internal static QArray? TryReadQArray(CheckpointFile file, GgufTensor tensor) =>
        SplitOf(tensor.Type) is { } split ? Split(file, tensor, split) : null;

    /// <summary>The dtype of plain floats, or null for blocks.</summary>
    internal static ScalarType? PlainDtype(GgufTensorType type) =>
        type == GgufTensorType.F32 ? ScalarType.Float32
        : type == GgufTensorType.F16 ? ScalarType.Float16
        : type == GgufTensorType.BF16 ? ScalarType.BFloat16
        : null;

    private static BlockSplit? SplitOf(GgufTensorType type) =>
        type == GgufTensorType.Q8_0 ? new(QType.Int8, BlockMath.Length, Q8Blocks.Split)
        : type == GgufTensorType.Q4_0 ? new(QType.Int4, BlockMath.Length, Q4Blocks.Split)
        : type == GgufTensorType.Q5_0 ? new(QType.Int5, BlockMath.Length, Q5Blocks.Split)
        : type == GgufTensorType.Q6_K ? new(QType.Int6, KBlocks.RunLength, KBlocks.SplitSix)
        : null;

    private static long[] ScaleShape(long[] shape, int tileSize) => [.. shape[..^1], shape[^1] / tileSize];

    private static QArray Split(CheckpointFile file, GgufTensor tensor, BlockSplit split)
    {
        var (qtype, tileSize, action) = split;
        long[] shape = tensor.Shape;
        var codes = empty(CodePacking.PackedShape(shape, qtype), dtype: CodePacking.IsPacked(qtype) ? ScalarType.Byte : ScalarType.Int8);
        var scale = empty(ScaleShape(shape, tileSize), dtype: ScalarType.Float32);
        byte* codesAt = (byte*)TensorMemory.Address(codes);
        float* scaleAt = (float*)TensorMemory.Address(scale);
        int tilesPerBlock = tensor.Type.BlockLength / tileSize, codeBytesPerBlock = tensor.Type.BlockLength * qtype.StorageBits / 8;
        try
        {
            ForEachChunk(file, tensor, (bytes, firstBlock) =>
            {
                int blocks = bytes.Length / tensor.Type.BlockSize;
                action(bytes, new Span<byte>(codesAt + (firstBlock * codeBytesPerBlock), blocks * codeBytesPerBlock), new Span<float>(scaleAt + (firstBlock * tilesPerBlock), blocks * tilesPerBlock));
            });
            return new QArray(qtype, shape, codes, scale);
        }
        catch
        {
            codes.Dispose();
            scale.Dispose();
            throw;
        }
    }

    private static void ForEachChunk(CheckpointFile file, GgufTensor tensor, Action<ReadOnlySpan<byte>, long> action)
    {
        int blocksPerChunk = ChunkSize / tensor.Type.BlockSize;
        long blocks = tensor.ByteLength / tensor.Type.BlockSize;
        for (long first = 0; first < blocks; first += blocksPerChunk)
        {
            int count = (int)Math.Min(blocksPerChunk, blocks - first);
            action(file.Span(tensor.Offset + (first * tensor.Type.BlockSize), count * tensor.Type.BlockSize), first);
        }
    }
}
