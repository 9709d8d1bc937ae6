using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace QwixSharp.Kernels.Activations;

/// <summary>
/// Float32 activations as three signed bytes each, so that integer kernels serve weight-only products:
/// x ≈ (a₂·2¹⁶ + a₁·2⁸ + a₀) · 2^e, with one e a tile.
/// </summary>
/// <remarks>
/// The error of a value is at most 2⁻²³ of its tile's largest magnitude, and none for 0. A weight may be 0 just where that
/// largest value lies, or where a few do, so it is compared with the root mean square of the tile's other values, which the size
/// of their sum follows; values above a 16th of the largest count as such a 16th, so that a sixteenth of all have to be large, or
/// more be less so. At most 64 times as large, it leaves an error of 64 · 2⁻²³ · 0.58 (the deviation of a uniform error), 4.4e-6,
/// relative to the sum. Rows with tiles more uneven than that are refused, as are non-finite values, and magnitudes whose
/// squares or scales would leave float32.
/// </remarks>
internal static unsafe class DigitPlanes
{
    /// <summary>Bytes a value.</summary>
    public const int Count = 3;

    /// <summary>v = x · 2^(DigitBits − exponent of the tile) is below 2^23 in magnitude.</summary>
    private const int DigitBits = 22;

    /// <summary>The digits reach 127·(2¹⁶ + 2⁸ + 1), a little less than 2^23: magnitudes just below a power of two round up to it.</summary>
    private const float Headroom = 1.005f;

    /// <summary>How many times the root mean square of the others the largest magnitude may be.</summary>
    private const int MostUneven = 64;

    /// <summary>Of so few values, weights may leave any alone: each that is not 0 must be as large as otherwise their root mean square.</summary>
    private const int FewestForMean = 16;

    /// <summary>Of the largest magnitude: what others count as at most.</summary>
    private const float MostCounted = 1 / 16f;

    private const int LowestExponent = -100;

    /// <summary>Of a float32.</summary>
    private const int MantissaBits = 23, Bias = 127;
    private static readonly float Smallest = MathF.ScaleB(1, -50);
    private static readonly float Largest = MathF.ScaleB(1, 50);

    /// <summary>Whether rows can be split without losing what float32 products keep.</summary>
    /// <param name="x">[rows, depth].</param>
    /// <param name="stride">The distance from one row to the next, in elements.</param>
    /// <param name="rows">M.</param>
    /// <param name="depth">K.</param>
    /// <param name="tileSize">How many values share an exponent.</param>
    public static bool CanSplit(float* x, long stride, int rows, int depth, int tileSize)
    {
        for (var row = 0; row < rows; row++, x += stride)
            for (var from = 0L; from < depth; from += tileSize)
                if (!CanSplit(x + from, (int)Math.Min(tileSize, depth - from)))
                    return false;
        return true;
    }

    /// <summary>The exponent that a tile's values share.</summary>
    /// <param name="absMax">Their largest magnitude.</param>
    public static int Exponent(float absMax) => absMax == 0 ? 0 : Math.Max((BitConverter.SingleToInt32Bits(absMax * Headroom) >> MantissaBits) - Bias, LowestExponent);

    /// <summary>What a digit of the highest plane stands for; each plane below has a 256th of it.</summary>
    /// <param name="exponent">The tile's exponent.</param>
    public static float HighestScale(int exponent) => PowerOfTwo(exponent - DigitBits + 16);

    /// <summary>2 to a power that float32 has as a normal number: exponents here lie between −100 and 50.</summary>
    private static float PowerOfTwo(int exponent) => BitConverter.Int32BitsToSingle((exponent + Bias) << MantissaBits);

    /// <summary>Splits the values of a tile.</summary>
    /// <param name="x">The values.</param>
    /// <param name="count">How many.</param>
    /// <param name="exponent">The tile's exponent.</param>
    /// <param name="high">a₂.</param>
    /// <param name="middle">a₁.</param>
    /// <param name="low">a₀.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Split(float* x, int count, int exponent, sbyte* high, sbyte* middle, sbyte* low)
    {
        var factor = PowerOfTwo(DigitBits - exponent);
        var i = 0;
        if (Avx512F.IsSupported)
        {
            var f = Vector512.Create(factor);
            for (; i + 16 <= count; i += 16)
            {
                var v = Avx512F.ConvertToVector512Int32(Vector512.Load(x + i) * f);
                Avx512F.ConvertToVector128SByte(v).Store(low + i);
                v = (v + Vector512.Create(128)) >> 8;
                Avx512F.ConvertToVector128SByte(v).Store(middle + i);
                v = (v + Vector512.Create(128)) >> 8;
                Avx512F.ConvertToVector128SByte(v).Store(high + i);
            }
        }
        else if (Avx2.IsSupported)
        {
            var f = Vector256.Create(factor);
            var half = Vector256.Create(128);
            for (; i + 8 <= count; i += 8)
            {
                var v = Avx.ConvertToVector256Int32(Vector256.Load(x + i) * f);
                StoreLowBytes(v, low + i);
                v = (v + half) >> 8;
                StoreLowBytes(v, middle + i);
                StoreLowBytes((v + half) >> 8, high + i);
            }
        }
        for (; i < count; i++)
        {
            var v = (int)MathF.Round(x[i] * factor, MidpointRounding.ToEven);
            low[i] = (sbyte)v;
            v = (v + 128) >> 8;
            middle[i] = (sbyte)v;
            high[i] = (sbyte)((v + 128) >> 8);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreLowBytes(Vector256<int> values, sbyte* target)
    {
        var bytes = Avx2.Shuffle(values.AsByte(), Vector256.Create(0x0C080400).AsByte()).AsUInt32();
        Sse2.UnpackLow(bytes.GetLower(), bytes.GetUpper()).AsSByte().GetLower().Store(target);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static bool CanSplit(float* x, int count)
    {
        var absMax = RowQuantizer.AbsMax(x, count);
        if (absMax == 0)
            return true;
        if (!(absMax >= Smallest && absMax <= Largest))
            return false;
        if (count < FewestForMean)
            return AllAreLarge(x, count, absMax / MostUneven);
        if (IsEven(x, count, absMax))
            return true;
        var i = 0;
        var most = absMax * MostCounted;
        var mostOfAll = Vector256.Create(most);
        var sums = Vector256<float>.Zero;
        var zeros = Vector256<int>.Zero;
        for (; i + 8 <= count; i += 8)
        {
            var v = Vector256.Min(Vector256.Abs(Vector256.Load(x + i)), mostOfAll);
            sums += v * v;
            zeros += Vector256.Equals(v, Vector256<float>.Zero).AsInt32();
        }
        double squares = Vector256.Sum(sums);
        var others = count + Vector256.Sum(zeros) - 1;
        for (; i < count; i++)
        {
            var v = MathF.Min(MathF.Abs(x[i]), most);
            squares += v * v;
            others -= v == 0 ? 1 : 0;
        }
        return others == 0 || (double)absMax * absMax * others <= MostUneven * MostUneven * (squares - (double)most * most);
    }

    private static bool AllAreLarge(float* x, int count, float least)
    {
        for (var i = 0; i < count; i++)
            if (x[i] != 0 && MathF.Abs(x[i]) < least)
                return false;
        return true;
    }

    /// <summary>
    /// Whether at least a quarter of the values beside the largest reach a 32nd of it: then it is at most √4 · 32 times their root mean
    /// square, and nothing more need be computed.
    /// </summary>
    private static bool IsEven(float* x, int count, float absMax)
    {
        var i = 0;
        var large = 0;
        var bound = Vector512.Create(absMax / 32);
        for (; i + 16 <= count; i += 16)
            large += BitOperations.PopCount(Vector512.GreaterThanOrEqual(Vector512.Abs(Vector512.Load(x + i)), bound).ExtractMostSignificantBits());
        return count - 1 <= 4L * (large - 1);
    }
}
