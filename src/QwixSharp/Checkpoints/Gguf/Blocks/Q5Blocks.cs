using System.Runtime.Intrinsics;
using static QwixSharp.Checkpoints.Gguf.Blocks.BlockMath;

namespace QwixSharp.Checkpoints.Gguf.Blocks;

/// <summary>
/// Q5_0 and Q5_1: as Q4_0 (biased by 16) and Q4_1, with four bytes that hold the fifth bits, one a value in their order,
/// before the lower four bits.
/// </summary>
internal static class Q5Blocks
{
    /// <summary>The bytes of a Q5_0 block.</summary>
    internal const int SymmetricSize = 2 + 4 + HalfLength;

    /// <summary>The bytes of a Q5_1 block.</summary>
    internal const int AffineSize = 4 + 4 + HalfLength;

    private static readonly Vector128<byte> Bias = Vector128.Create((byte)16);

    internal static void DecodeSymmetric(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; blocks.Length >= SymmetricSize; blocks = blocks[SymmetricSize..], values = values[Length..])
        {
            float scale = ReadHalf(blocks);
            var (low, high) = Codes(blocks[2..SymmetricSize]);
            StoreScaled((low - Bias).AsSByte(), (high - Bias).AsSByte(), scale, values[..Length]);
        }
    }

    internal static void DecodeAffine(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; blocks.Length >= AffineSize; blocks = blocks[AffineSize..], values = values[Length..])
        {
            float scale = ReadHalf(blocks), offset = ReadHalf(blocks[2..]);
            var (low, high) = Codes(blocks[4..AffineSize]);
            StoreScaled(low.AsSByte(), high.AsSByte(), scale, offset, values[..Length]);
        }
    }

    /// <summary>Takes codes, a signed byte each, and scales out of Q5_0 blocks, without rounding.</summary>
    internal static void Split(ReadOnlySpan<byte> blocks, Span<byte> codes, Span<float> scales)
    {
        for (int i = 0; blocks.Length >= SymmetricSize; i++, blocks = blocks[SymmetricSize..], codes = codes[Length..])
        {
            scales[i] = ReadHalf(blocks);
            var (low, high) = Codes(blocks[2..SymmetricSize]);
            (low - Bias).CopyTo(codes);
            (high - Bias).CopyTo(codes[HalfLength..]);
        }
    }

    private static (Vector128<byte> Low, Vector128<byte> High) Codes(ReadOnlySpan<byte> bitsThenNibbles)
    {
        var (low, high) = Q4Blocks.Nibbles(bitsThenNibbles[4..]);
        return (low | FifthBits(bitsThenNibbles), high | FifthBits(bitsThenNibbles[2..]));
    }
}
