using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using QwixSharp.Kernels.Weights;
using Simd = System.Runtime.Intrinsics.X86.Avx2;

namespace QwixSharp.Kernels.Avx2Paths;

/// <summary>Turns one code of each of eight columns into float32.</summary>
internal unsafe interface IDecoder
{
    /// <summary>How many values of K a word of a column holds: 8 half bytes or 4 bytes.</summary>
    static abstract int Values { get; }

    /// <summary>The numbers of the codes of one value of K.</summary>
    /// <param name="words">A word of codes for each of eight columns.</param>
    /// <param name="value">Which code of the word, from the lowest bits up.</param>
    /// <param name="table">The numbers of codes, or null.</param>
    static abstract Vector256<float> Decode(Vector256<int> words, int value, float* table);
}

/// <summary>Signed bytes.</summary>
internal readonly unsafe struct Int8Decoder : IDecoder
{
    /// <inheritdoc/>
    public static int Values => 4;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Decode(Vector256<int> words, int value, float* table)
    {
        var top = Simd.ShiftLeftLogical(words, Vector128.CreateScalar(24 - 8 * value));
        return Avx.ConvertToVector256Single(Simd.ShiftRightArithmetic(top, 24));
    }
}

/// <summary>Half bytes that index a table of 16, in two look-ups of eight.</summary>
internal readonly unsafe struct HalfByteDecoder : IDecoder
{
    /// <inheritdoc/>
    public static int Values => 8;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Decode(Vector256<int> words, int value, float* table)
    {
        var index = Simd.ShiftRightLogical(words, Vector128.CreateScalar(4 * value));
        var lower = Simd.PermuteVar8x32(Vector256.Load(table), index);
        var upper = Simd.PermuteVar8x32(Vector256.Load(table + 8), index);
        return Avx.BlendVariable(lower, upper, Simd.ShiftLeftLogical(index, 28).AsSingle());
    }
}

/// <summary>Half bytes that are integers, stored as code + 8: cheaper than the table.</summary>
internal readonly unsafe struct Int4Decoder : IDecoder
{
    /// <inheritdoc/>
    public static int Values => 8;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Decode(Vector256<int> words, int value, float* table)
    {
        // The code is put into the mantissa of 2^23, from which 2^23 + 8 is then taken: both steps are exact.
        var code = Simd.ShiftRightLogical(words, Vector128.CreateScalar(4 * value)) & Vector256.Create(15);
        return (code | Vector256.Create(0x4B000000)).AsSingle() - Vector256.Create(8388616f);
    }
}

/// <summary>Bytes that index a table of 256.</summary>
internal readonly unsafe struct TableDecoder : IDecoder
{
    /// <inheritdoc/>
    public static int Values => 4;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Decode(Vector256<int> words, int value, float* table)
    {
        var index = Simd.ShiftRightLogical(words, Vector128.CreateScalar(8 * value)) & Vector256.Create(255);
        return Simd.GatherVector256(table, index, sizeof(float));
    }
}

/// <summary>An fp8 type.</summary>
internal interface IFp8
{
    /// <summary>As in <see cref="Fp8Layout"/>.</summary>
    static abstract int Shift { get; }
}

/// <summary>Four bits of exponent.</summary>
internal readonly struct E4M3 : IFp8
{
    /// <inheritdoc cref="IFp8.Shift"/>
    public const int Shift = 4;

    static int IFp8.Shift => Shift;
}

/// <summary>Five bits of exponent.</summary>
internal readonly struct E5M2 : IFp8
{
    /// <inheritdoc cref="IFp8.Shift"/>
    public const int Shift = 3;

    static int IFp8.Shift => Shift;
}

/// <summary>Bytes of an fp8 type: looking them up one by one takes several times as long.</summary>
/// <typeparam name="TType">The type.</typeparam>
internal readonly unsafe struct Fp8Decoder<TType> : IDecoder
    where TType : struct, IFp8
{
    /// <inheritdoc/>
    public static int Values => 4;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> Decode(Vector256<int> words, int value, float* table)
    {
        // The bits under a float's sign, exponent and mantissa give the number times a power of two.
        var top = Simd.ShiftLeftLogical(words, Vector128.CreateScalar(24 - 8 * value));
        var bits = (top >> TType.Shift) & Vector256.Create(Fp8Layout.Mask(TType.Shift));
        return bits.AsSingle() * Vector256.Create(BitConverter.Int32BitsToSingle((127 + Fp8Layout.Exponent(TType.Shift)) << 23));
    }
}
