using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace QwixSharp.Kernels.Assembled;

/// <summary>Signed bytes as 16-bit words, for <c>vpmaddwd</c>.</summary>
internal static unsafe class WideCodes
{
    /// <summary>Bytes of a group of 64 codes.</summary>
    public const int GroupBytes = 128;

    /// <summary>Groups [16][4] of bytes as two steps [16][2] of words: the bytes 0 and 2 of a column, then 1 and 3.</summary>
    /// <param name="codes">The groups.</param>
    /// <param name="groups">How many.</param>
    /// <param name="unpacked">The result, twice as long.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Unpack(byte* codes, nint groups, short* unpacked)
    {
        for (; groups > 0; groups--, codes += 64, unpacked += 64)
        {
            var left = Vector256.Load((short*)codes);
            var right = Vector256.Load((short*)codes + 16);
            Avx2.ShiftRightArithmetic(Avx2.ShiftLeftLogical(left, 8), 8).Store(unpacked);
            Avx2.ShiftRightArithmetic(Avx2.ShiftLeftLogical(right, 8), 8).Store(unpacked + 16);
            Avx2.ShiftRightArithmetic(left, 8).Store(unpacked + 32);
            Avx2.ShiftRightArithmetic(right, 8).Store(unpacked + 48);
        }
    }

    /// <summary>Groups [16][4] of bytes as two steps [16][2] of words: the bytes 0 and 1 of a column, then 2 and 3.</summary>
    /// <param name="codes">The groups.</param>
    /// <param name="groups">How many.</param>
    /// <param name="unpacked">The result, twice as long.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void UnpackInOrder(sbyte* codes, nint groups, short* unpacked)
    {
        for (; groups > 0; groups--, codes += 64, unpacked += 64)
            for (var half = 0; half < 2; half++)
            {
                var left = Avx2.ConvertToVector256Int16(codes + 32 * half).AsSingle();
                var right = Avx2.ConvertToVector256Int16(codes + 32 * half + 16).AsSingle();
                InOrder(Avx.Shuffle(left, right, 0b10_00_10_00)).Store(unpacked + 16 * half);
                InOrder(Avx.Shuffle(left, right, 0b11_01_11_01)).Store(unpacked + 16 * half + 32);
            }

        static Vector256<short> InOrder(Vector256<float> columns) => Avx2.Permute4x64(columns.AsInt64(), 0b11_01_10_00).AsInt16();
    }

    /// <summary>Unsigned bytes one by one.</summary>
    /// <param name="codes">The bytes.</param>
    /// <param name="count">How many.</param>
    /// <param name="words">The result.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Widen(byte* codes, nint count, short* words)
    {
        nint i = 0;
        for (; i + 16 <= count; i += 16)
            Avx2.ConvertToVector256Int16(codes + i).Store(words + i);
        for (; i < count; i++)
            words[i] = codes[i];
    }
}
