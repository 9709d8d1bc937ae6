using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace QwixSharp.Checkpoints.Gguf.Blocks;

/// <summary>What the formats of 32 values a block have in common.</summary>
/// <remarks>
/// Products and sums stay apart: a fused multiply-add would round once where the owning library rounds twice.
/// </remarks>
internal static class BlockMath
{
    /// <summary>The values in a block.</summary>
    internal const int Length = 32;

    /// <summary>Half of <see cref="Length"/>: the values whose codes lie in the same half of a byte.</summary>
    internal const int HalfLength = 16;

    private static readonly Vector128<byte> BitOfByte = Vector128.Create((byte)1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128);

    internal static float ReadHalf(ReadOnlySpan<byte> bytes) => (float)BinaryPrimitives.ReadHalfLittleEndian(bytes);

    /// <exception cref="OverflowException">The value is not finite in float16.</exception>
    internal static void WriteHalf(Span<byte> bytes, float value)
    {
        var half = (Half)value;
        if (!Half.IsFinite(half))
            throw new OverflowException($"{value} is not finite in float16");
        BinaryPrimitives.WriteHalfLittleEndian(bytes, half);
    }

    /// <summary>1 ÷ d, or 0 where d is 0 or so small that the quotient is not finite: all codes are then those of 0.</summary>
    internal static float Reciprocal(float d)
    {
        float inverse = 1 / d;
        return float.IsFinite(inverse) ? inverse : 0;
    }

    /// <summary>Stores 16 codes times a scale.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void StoreScaled(Vector128<sbyte> codes, float scale, ref float values)
    {
        var factor = Vector256.Create(scale);
        (ToSingle(codes) * factor).StoreUnsafe(ref values);
        (ToSingle(UpperHalf(codes)) * factor).StoreUnsafe(ref values, 8);
    }

    /// <summary>Stores 16 codes times a scale, plus an offset.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void StoreScaled(Vector128<sbyte> codes, float scale, float offset, ref float values)
    {
        var factor = Vector256.Create(scale);
        var shift = Vector256.Create(offset);
        ((ToSingle(codes) * factor) + shift).StoreUnsafe(ref values);
        ((ToSingle(UpperHalf(codes)) * factor) + shift).StoreUnsafe(ref values, 8);
    }

    /// <summary>Stores the 32 codes of a block times a scale.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void StoreScaled(Vector128<sbyte> low, Vector128<sbyte> high, float scale, Span<float> values)
    {
        ref float x = ref MemoryMarshal.GetReference(values);
        StoreScaled(low, scale, ref x);
        StoreScaled(high, scale, ref Unsafe.Add(ref x, HalfLength));
    }

    /// <summary>Stores the 32 codes of a block times a scale, plus an offset.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void StoreScaled(Vector128<sbyte> low, Vector128<sbyte> high, float scale, float offset, Span<float> values)
    {
        ref float x = ref MemoryMarshal.GetReference(values);
        StoreScaled(low, scale, offset, ref x);
        StoreScaled(high, scale, offset, ref Unsafe.Add(ref x, HalfLength));
    }

    /// <summary>Sixteen bytes, each 16 where its bit of the two bytes is set, else 0: the fifth bits of sixteen codes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector128<byte> FifthBits(ReadOnlySpan<byte> twoBytes)
    {
        var bytes = Vector128.Create(Vector64.Create(twoBytes[0]), Vector64.Create(twoBytes[1]));
        return Vector128.Equals(bytes & BitOfByte, BitOfByte) & Vector128.Create((byte)16);
    }

    /// <summary>Sixteen floats that are whole numbers from 0 to 255, as bytes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector128<byte> ToBytes(Vector256<float> first, Vector256<float> second)
    {
        var words = Vector256.Narrow(Vector256.ConvertToInt32(first), Vector256.ConvertToInt32(second));
        return Vector128.Narrow(words.GetLower(), words.GetUpper()).AsByte();
    }

    /// <summary>The smallest and the largest of 32 values; a value that is not a number is one or the other.</summary>
    internal static (float Min, float Max) Range(ReadOnlySpan<float> block)
    {
        ref float x = ref MemoryMarshal.GetReference(block);
        var (a, b, c, d) = (Vector256.LoadUnsafe(ref x), Vector256.LoadUnsafe(ref x, 8), Vector256.LoadUnsafe(ref x, 16), Vector256.LoadUnsafe(ref x, 24));
        var low = Vector256.Min(Vector256.Min(a, b), Vector256.Min(c, d));
        var high = Vector256.Max(Vector256.Max(a, b), Vector256.Max(c, d));
        var (min, max) = (low[0], high[0]);
        for (int i = 1; i < 8; i++)
            (min, max) = (float.Min(min, low[i]), float.Max(max, high[i]));
        return (min, max);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> ToSingle(Vector128<sbyte> lowerEight) => Vector256.ConvertToSingle(Widen(lowerEight));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Widen(Vector128<sbyte> codes)
    {
        if (Avx2.IsSupported)
            return Avx2.ConvertToVector256Int32(codes);
        var words = Vector128.WidenLower(codes);
        return Vector256.Create(Vector128.WidenLower(words), Vector128.WidenUpper(words));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<sbyte> UpperHalf(Vector128<sbyte> codes) => Vector128.Create(codes.GetUpper(), codes.GetUpper());
}
