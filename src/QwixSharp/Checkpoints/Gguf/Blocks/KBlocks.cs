using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using static QwixSharp.Checkpoints.Gguf.Blocks.BlockMath;

namespace QwixSharp.Checkpoints.Gguf.Blocks;

/// <summary>
/// Q4_K, Q5_K and Q6_K: 256 values in runs of 32 or 16, with a scale a run that is itself quantized, to 6 or 8 bits, with a
/// float16 scale a block.
/// </summary>
internal static class KBlocks
{
    /// <summary>The values in a block.</summary>
    internal const int SuperLength = 256;

    /// <summary>The values in a run of Q6_K.</summary>
    internal const int RunLength = 16;

    /// <summary>The bytes of a Q4_K block: scale, scale of the minima, 8 pairs of 6-bit scales and minima, nibbles.</summary>
    internal const int FourSize = 4 + 12 + (SuperLength / 2);

    /// <summary>The bytes of a Q5_K block: as Q4_K, with the fifth bits before the nibbles.</summary>
    internal const int FiveSize = FourSize + (SuperLength / 8);

    /// <summary>The bytes of a Q6_K block: nibbles, upper pairs of bits, 16 signed scales, scale.</summary>
    internal const int SixSize = (SuperLength / 2) + (SuperLength / 4) + 16 + 2;

    internal static void DecodeFour(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; blocks.Length >= FourSize; blocks = blocks[FourSize..], values = values[SuperLength..])
            DecodeAffine(blocks, fifthBits: default, blocks[16..FourSize], values);
    }

    internal static void DecodeFive(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; blocks.Length >= FiveSize; blocks = blocks[FiveSize..], values = values[SuperLength..])
            DecodeAffine(blocks, fifthBits: blocks[16..48], blocks[48..FiveSize], values);
    }

    internal static void DecodeSix(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        Span<byte> codes = stackalloc byte[SuperLength];
        Span<float> scales = stackalloc float[SuperLength / RunLength];
        for (; blocks.Length >= SixSize; blocks = blocks[SixSize..], values = values[SuperLength..])
        {
            SplitSix(blocks[..SixSize], codes, scales);
            for (int run = 0; run < scales.Length; run++)
                StoreScaled(Vector128.Create<byte>(codes[(run * RunLength)..]).AsSByte(), scales[run], ref MemoryMarshal.GetReference(values.Slice(run * RunLength, 16)));
        }
    }

    /// <summary>Takes codes (−32…31, a signed byte each) and the scale of each 16 out of Q6_K blocks, without rounding.</summary>
    internal static void SplitSix(ReadOnlySpan<byte> blocks, Span<byte> codes, Span<float> scales)
    {
        for (; blocks.Length >= SixSize; blocks = blocks[SixSize..], codes = codes[SuperLength..], scales = scales[16..])
        {
            float scale = ReadHalf(blocks[(SixSize - 2)..]);
            for (int run = 0; run < 16; run++)
                scales[run] = scale * (sbyte)blocks[192 + run];
            for (int half = 0; half < 2; half++)
            {
                var low = blocks.Slice(half * 64, 64);
                var high = blocks.Slice(128 + (half * 32), 32);
                var output = codes.Slice(half * 128, 128);
                for (int i = 0; i < 32; i++)
                {
                    output[i] = (byte)(((low[i] & 15) | ((high[i] & 3) << 4)) - 32);
                    output[i + 32] = (byte)(((low[i + 32] & 15) | (((high[i] >> 2) & 3) << 4)) - 32);
                    output[i + 64] = (byte)(((low[i] >> 4) | (((high[i] >> 4) & 3) << 4)) - 32);
                    output[i + 96] = (byte)(((low[i + 32] >> 4) | ((high[i] >> 6) << 4)) - 32);
                }
            }
        }
    }

    private static void DecodeAffine(ReadOnlySpan<byte> block, ReadOnlySpan<byte> fifthBits, ReadOnlySpan<byte> nibbles, Span<float> values)
    {
        float scale = ReadHalf(block), minScale = ReadHalf(block[2..]);
        for (int run = 0; run < 8; run++)
        {
            var (runScale, runMin) = ScaleAndMin(block[4..16], run);
            for (int i = 0; i < 32; i += 16)
            {
                var (low, high) = Q4Blocks.Nibbles(nibbles.Slice((run / 2 * 32) + i, 16));
                var codes = run % 2 == 0 ? low : high;
                if (!fifthBits.IsEmpty)
                    codes |= ((Vector128.Create<byte>(fifthBits[i..]) >>> run) & Vector128<byte>.One) << 4;
                StoreScaled(codes.AsSByte(), scale * runScale, -(minScale * runMin), ref MemoryMarshal.GetReference(values.Slice((run * 32) + i, 16)));
            }
        }
    }

    /// <summary>The 6-bit scale and minimum of a run: the first four whole, the upper bits of the last four in the spare bits of those.</summary>
    private static (int Scale, int Min) ScaleAndMin(ReadOnlySpan<byte> twelve, int run) => run < 4
        ? (twelve[run] & 63, twelve[run + 4] & 63)
        : ((twelve[run + 4] & 15) | (twelve[run - 4] >> 6 << 4), (twelve[run + 4] >> 4) | (twelve[run] >> 6 << 4));
}
