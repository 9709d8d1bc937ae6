using System.Runtime.Intrinsics;

namespace QwixSharp.Kernels.Passes;

/// <summary>Codes of 2 and 4 bits, several to a byte, the first in the lowest bits.</summary>
internal static unsafe class BitPacking
{
    /// <summary>The bytes that codes take when packed.</summary>
    /// <param name="count">How many codes.</param>
    /// <param name="bits">2 or 4.</param>
    /// <exception cref="ArgumentOutOfRangeException">Other bits.</exception>
    public static long Bytes(long count, int bits)
    {
        CheckBits(bits);
        return (count * bits + 7) / 8;
    }

    /// <summary>Packs the low bits of each code; what the last byte does not need is 0.</summary>
    /// <param name="codes">The codes, one a byte, signed or not.</param>
    /// <param name="count">How many.</param>
    /// <param name="bits">2 or 4.</param>
    /// <param name="packed">The result, <see cref="Bytes"/> long.</param>
    /// <exception cref="ArgumentOutOfRangeException">Other bits.</exception>
    public static void Pack(sbyte* codes, long count, int bits, byte* packed)
    {
        var bytes = Bytes(count, bits);
        var perByte = 8 / bits;
        var mask = (1 << bits) - 1;
        for (var i = bits == 4 ? PackHalfBytes(codes, count, packed) : 0; i < bytes; i++)
        {
            var value = 0;
            for (var j = 0; j < perByte && i * perByte + j < count; j++)
                value |= (codes[i * perByte + j] & mask) << (j * bits);
            packed[i] = (byte)value;
        }
    }

    /// <summary>Unpacks codes to one a byte.</summary>
    /// <param name="packed">The packed codes.</param>
    /// <param name="count">How many codes.</param>
    /// <param name="bits">2 or 4.</param>
    /// <param name="signed">Whether codes are in two's complement; else 0 … 2^bits − 1.</param>
    /// <param name="codes">The result.</param>
    /// <exception cref="ArgumentOutOfRangeException">Other bits.</exception>
    public static void Unpack(byte* packed, long count, int bits, bool signed, sbyte* codes)
    {
        CheckBits(bits);
        var i = bits == 4 ? UnpackHalfBytes(packed, count, signed, codes) : 0;
        var perByte = 8 / bits;
        for (; i < count; i++)
        {
            var top = packed[i / perByte] << (8 - bits - (int)(i % perByte) * bits);
            codes[i] = signed ? (sbyte)((sbyte)top >> (8 - bits)) : (sbyte)((byte)top >> (8 - bits));
        }
    }

    /// <returns>The bytes that were packed.</returns>
    private static long PackHalfBytes(sbyte* codes, long count, byte* packed)
    {
        var i = 0L;
        for (; i + 64 <= count; i += 64)
            Vector256.Narrow(Pairs(codes + i), Pairs(codes + i + 32)).Store(packed + i / 2);
        return i / 2;

        static Vector256<ushort> Pairs(sbyte* codes)
        {
            var both = Vector256.Load((ushort*)codes);
            return both & Vector256.Create((ushort)0x0F) | both >>> 4 & Vector256.Create((ushort)0xF0);
        }
    }

    private static long UnpackHalfBytes(byte* packed, long count, bool signed, sbyte* codes)
    {
        var i = 0L;
        var mask = Vector128.Create((byte)15);
        var sign = Vector128.Create((byte)(signed ? 8 : 0));
        for (; i + 32 <= count; i += 32)
        {
            var both = Vector128.Load(packed + i / 2);
            // (v ^ 8) − 8 extends the sign of a half byte.
            var low = ((both & mask) ^ sign) - sign;
            var high = ((both.AsUInt16() >>> 4).AsByte() & mask ^ sign) - sign;
            var (first, second) = Interleave(low, high);
            first.Store((byte*)codes + i);
            second.Store((byte*)codes + i + 16);
        }
        return i;
    }

    private static (Vector128<byte> First, Vector128<byte> Second) Interleave(Vector128<byte> even, Vector128<byte> odd)
    {
        var (evenLow, evenHigh) = Vector128.Widen(even);
        var (oddLow, oddHigh) = Vector128.Widen(odd);
        return ((evenLow | oddLow << 8).AsByte(), (evenHigh | oddHigh << 8).AsByte());
    }

    private static void CheckBits(int bits)
    {
        if (bits is not (2 or 4))
            throw new ArgumentOutOfRangeException(nameof(bits), bits, "Codes of 2 or 4 bits are packed.");
    }
}
