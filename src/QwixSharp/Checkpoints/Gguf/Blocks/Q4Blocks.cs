using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using static QwixSharp.Checkpoints.Gguf.Blocks.BlockMath;

namespace QwixSharp.Checkpoints.Gguf.Blocks;

/// <summary>
/// Q4_0: a float16 scale and 32 codes of 4 bits, biased by 8. Q4_1: a float16 scale, the block's minimum in float16 and 32
/// codes of 4 bits. Byte i holds the code of value i in its low and of value i + 16 in its high bits.
/// </summary>
internal static class Q4Blocks
{
    /// <summary>The bytes of a Q4_0 block.</summary>
    internal const int SymmetricSize = 2 + HalfLength;

    /// <summary>The bytes of a Q4_1 block.</summary>
    internal const int AffineSize = 4 + HalfLength;

    private static readonly Vector128<byte> LowBits = Vector128.Create((byte)15);
    private static readonly Vector128<byte> Bias = Vector128.Create((byte)8);

    internal static void DecodeSymmetric(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; blocks.Length >= SymmetricSize; blocks = blocks[SymmetricSize..], values = values[Length..])
        {
            float scale = ReadHalf(blocks);
            var (low, high) = Nibbles(blocks[2..SymmetricSize]);
            StoreScaled((low - Bias).AsSByte(), (high - Bias).AsSByte(), scale, values[..Length]);
        }
    }

    internal static void DecodeAffine(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; blocks.Length >= AffineSize; blocks = blocks[AffineSize..], values = values[Length..])
        {
            float scale = ReadHalf(blocks), offset = ReadHalf(blocks[2..]);
            var (low, high) = Nibbles(blocks[4..AffineSize]);
            StoreScaled(low.AsSByte(), high.AsSByte(), scale, offset, values[..Length]);
        }
    }

    /// <summary>Scale = the value of largest magnitude, with its sign, ÷ −8: that value always has a code of its own.</summary>
    internal static void EncodeSymmetric(ReadOnlySpan<float> values, Span<byte> blocks)
    {
        for (; values.Length >= Length; values = values[Length..], blocks = blocks[SymmetricSize..])
        {
            float scale = Extreme(values[..Length]) / -8;
            WriteHalf(blocks, scale);
            double inverse = Reciprocal(scale);
            ref float x = ref MemoryMarshal.GetReference(values[..Length]);
            Pack(SymmetricCodes(ref x, inverse), SymmetricCodes(ref Unsafe.Add(ref x, HalfLength), inverse), blocks[2..SymmetricSize]);
        }
    }

    /// <summary>Scale = (max − min) ÷ 15.</summary>
    internal static void EncodeAffine(ReadOnlySpan<float> values, Span<byte> blocks)
    {
        for (; values.Length >= Length; values = values[Length..], blocks = blocks[AffineSize..])
        {
            var (min, max) = Range(values);
            float scale = (max - min) / 15;
            WriteHalf(blocks, scale);
            WriteHalf(blocks[2..], min);
            float inverse = Reciprocal(scale);
            ref float x = ref MemoryMarshal.GetReference(values[..Length]);
            Pack(AffineCodes(ref x, min, inverse), AffineCodes(ref Unsafe.Add(ref x, HalfLength), min, inverse), blocks[4..AffineSize]);
        }
    }

    /// <summary>
    /// Takes codes and scales out of Q4_0 blocks, without rounding. Codes become two's complement nibbles in the order of
    /// their values, the first in the low bits of a byte.
    /// </summary>
    internal static void Split(ReadOnlySpan<byte> blocks, Span<byte> codes, Span<float> scales)
    {
        for (int i = 0; blocks.Length >= SymmetricSize; i++, blocks = blocks[SymmetricSize..], codes = codes[HalfLength..])
        {
            scales[i] = ReadHalf(blocks);
            var (low, high) = Nibbles(blocks[2..SymmetricSize]);
            Vector128.Create(Pairs(low ^ Bias), Pairs(high ^ Bias)).CopyTo(codes);
        }
    }

    /// <summary>Undoes <see cref="Split"/>; scales are rounded to float16.</summary>
    internal static void Join(ReadOnlySpan<byte> codes, ReadOnlySpan<float> scales, Span<byte> blocks)
    {
        for (int i = 0; i < scales.Length; i++, blocks = blocks[SymmetricSize..], codes = codes[HalfLength..])
        {
            WriteHalf(blocks, scales[i]);
            for (int j = 0; j < HalfLength; j++)
                blocks[2 + j] = (byte)((Nibble(codes, j) | (Nibble(codes, j + HalfLength) << 4)) ^ 0x88);
        }
    }

    internal static (Vector128<byte> Low, Vector128<byte> High) Nibbles(ReadOnlySpan<byte> sixteen)
    {
        var bytes = Vector128.Create(sixteen);
        return (bytes & LowBits, (bytes >>> 4) & LowBits);
    }

    private static int Nibble(ReadOnlySpan<byte> codes, int i) => (codes[i / 2] >> (i % 2 * 4)) & 15;

    /// <summary>Sixteen codes, a byte each, two to a byte.</summary>
    private static Vector64<byte> Pairs(Vector128<byte> codes)
    {
        var words = codes.AsUInt16();
        return Vector64.Narrow((words | (words >>> 4)).GetLower() & Vector64.Create((ushort)0xFF), (words | (words >>> 4)).GetUpper() & Vector64.Create((ushort)0xFF));
    }

    private static void Pack(Vector128<byte> low, Vector128<byte> high, Span<byte> sixteen) => (low | (high << 4)).CopyTo(sixteen);

    /// <summary>The first of the values with the largest magnitude.</summary>
    private static float Extreme(ReadOnlySpan<float> block)
    {
        var (min, max) = Range(block);
        if (max != -min)
            return max > -min ? max : min;
        foreach (float x in block)
        {
            if (float.Abs(x) == max)
                return x;
        }

        return float.NaN;
    }

    /// <summary>Codes of 16 values: x ÷ scale + 8.5 in double precision, rounded to float32 and cut off.</summary>
    private static Vector128<byte> SymmetricCodes(ref float x, double inverse)
    {
        return ToBytes(Eight(Vector256.LoadUnsafe(ref x), inverse), Eight(Vector256.LoadUnsafe(ref x, 8), inverse));

        static Vector256<float> Eight(Vector256<float> x, double inverse)
        {
            var (low, high) = Vector256.Widen(x);
            return Cut(Vector256.Narrow((low * inverse) + Vector256.Create(8.5), (high * inverse) + Vector256.Create(8.5)));
        }
    }

    private static Vector128<byte> AffineCodes(ref float x, float min, float inverse)
    {
        return ToBytes(Eight(Vector256.LoadUnsafe(ref x), min, inverse), Eight(Vector256.LoadUnsafe(ref x, 8), min, inverse));

        static Vector256<float> Eight(Vector256<float> x, float min, float inverse) =>
            Cut(((x - Vector256.Create(min)) * inverse) + Vector256.Create(0.5f));
    }

    private static Vector256<float> Cut(Vector256<float> codes) => Vector256.Truncate(Vector256.Min(codes, Vector256.Create(15f)));
}
