using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace QwixSharp.Kernels;

/// <summary>Two-byte floating-point numbers to float32, which holds them all, and back, to the nearest, ties to even.</summary>
internal static unsafe class FloatConversion
{
    /// <summary>2^(127 − 15).</summary>
    private const float RebiasOfHalf = 5.192296858534828e33f;

    /// <summary>To float32.</summary>
    /// <param name="from">The numbers.</param>
    /// <param name="format">Their format, one of two bytes.</param>
    /// <param name="count">How many.</param>
    /// <param name="to">The result.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Widen(ushort* from, FloatFormat format, long count, float* to)
    {
        var i = 0L;
        if (format == FloatFormat.BFloat16)
        {
            for (; i + 16 <= count; i += 16)
            {
                var (lower, upper) = Vector256.Widen(Vector256.Load(from + i));
                (lower << 16).AsSingle().Store(to + i);
                (upper << 16).AsSingle().Store(to + i + 8);
            }
            for (; i < count; i++)
                to[i] = BitConverter.UInt32BitsToSingle((uint)from[i] << 16);
            return;
        }
        for (; i + 16 <= count; i += 16)
        {
            var (lower, upper) = Vector256.Widen(Vector256.Load(from + i));
            WidenHalf(lower).Store(to + i);
            WidenHalf(upper).Store(to + i + 8);
        }
        for (; i < count; i++)
            to[i] = (float)BitConverter.UInt16BitsToHalf(from[i]);
    }

    /// <summary>From float32.</summary>
    /// <param name="from">The numbers.</param>
    /// <param name="format">The format of the result, one of two bytes.</param>
    /// <param name="count">How many, a multiple of 8.</param>
    /// <param name="to">The result.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Narrow(float* from, FloatFormat format, int count, ushort* to)
    {
        for (var i = 0; i < count; i += 8)
        {
            var bits = Vector256.Load((uint*)from + i);
            bits = format == FloatFormat.BFloat16 ? RoundToBFloat16(bits) >>> 16 : NarrowHalf(bits);
            Vector128.Narrow(bits.GetLower(), bits.GetUpper()).Store(to + i);
        }
    }

    /// <summary>Rounds to what bfloat16 holds; NaN stays NaN.</summary>
    /// <param name="value">The numbers.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector256<float> RoundToBFloat16(Vector256<float> value) => RoundToBFloat16(value.AsUInt32()).AsSingle();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<uint> RoundToBFloat16(Vector256<uint> bits)
    {
        var rounded = (bits + Vector256.Create(0x7FFFu) + ((bits >>> 16) & Vector256<uint>.One)) & Vector256.Create(0xFFFF0000u);
        var isNaN = Vector256.GreaterThan((bits & Vector256.Create(0x7FFFFFFFu)).AsInt32(), Vector256.Create(0x7F800000)).AsUInt32();
        return Vector256.ConditionalSelect(isNaN, bits & Vector256.Create(0xFFFF0000u) | Vector256.Create(0x00400000u), rounded);
    }

    /// <summary>The exponent is rebiased by a multiplication, which turns subnormal numbers into normal ones.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> WidenHalf(Vector256<uint> half)
    {
        var magnitude = (half & Vector256.Create(0x7FFFu)) << 13;
        var value = (magnitude.AsSingle() * Vector256.Create(RebiasOfHalf)).AsUInt32();
        var isSpecial = Vector256.GreaterThanOrEqual(magnitude.AsInt32(), Vector256.Create(0x7C00 << 13)).AsUInt32();
        return (value | (isSpecial & Vector256.Create(0x7F800000u)) | ((half & Vector256.Create(0x8000u)) << 16)).AsSingle();
    }

    /// <summary>
    /// Normal results round in the integer domain; for subnormal ones the addition of a number whose last place is theirs rounds.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<uint> NarrowHalf(Vector256<uint> bits)
    {
        const uint LastPlaceOfSubnormal = (127 - 15 + (23 - 10) + 1) << 23;
        var magnitude = bits & Vector256.Create(0x7FFFFFFFu);
        var normal = (magnitude + Vector256.Create(unchecked((uint)(15 - 127) << 23) + 0xFFF) + ((magnitude >>> 13) & Vector256<uint>.One)) >>> 13;
        var subnormal = (magnitude.AsSingle() + Vector256.Create(LastPlaceOfSubnormal).AsSingle()).AsUInt32() - Vector256.Create(LastPlaceOfSubnormal);
        var special = Vector256.ConditionalSelect(Above(magnitude, 0x7F800000), Vector256.Create(0x7E00u), Vector256.Create(0x7C00u));
        var result = Vector256.ConditionalSelect(Above(magnitude, (113 << 23) - 1), normal, subnormal);
        result = Vector256.ConditionalSelect(Above(magnitude, ((127 + 16) << 23) - 1), special, result);
        return result | (bits >>> 16) & Vector256.Create(0x8000u);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<uint> Above(Vector256<uint> magnitude, int bound) => Vector256.GreaterThan(magnitude.AsInt32(), Vector256.Create(bound)).AsUInt32();
}
