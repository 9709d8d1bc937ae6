namespace QwixSharp.Tests.Providers.Odml.Device;

/// <summary>LiteRT's fixed-point arithmetic on single numbers, as its specification of quantization has it.</summary>
internal static class ReferenceArithmetic
{
    /// <summary>A factor as a 31-bit fraction of at least a half, and a power of two.</summary>
    public static (long Multiplier, int Shift) Quantize(double factor)
    {
        int shift = 0;
        for (; factor < 0.5; shift--)
            factor *= 2;
        for (; factor >= 1; shift++)
            factor /= 2;
        long multiplier = (long)Math.Floor((factor * (1L << 31)) + 0.5);
        return multiplier < 1L << 31 ? (multiplier, shift) : (multiplier >> 1, shift + 1);
    }

    /// <summary>The upper half of twice a product, rounded away from zero; then a division by a power of two, rounded away from zero.</summary>
    public static long ScaleTwice(long sum, (long Multiplier, int Shift) factor)
    {
        Int128 doubled = (Int128)sum * (1L << Math.Max(factor.Shift, 0)) * factor.Multiplier * 2;
        long high = Divide(doubled, (Int128)1 << 32, awayAtTies: doubled >= 0);
        return factor.Shift >= 0 ? high : Divide(high, (Int128)1 << -factor.Shift, awayAtTies: true);
    }

    /// <summary>One rounding, upwards at ties.</summary>
    public static long ScaleOnce(long sum, (long Multiplier, int Shift) factor) =>
        (long)((((Int128)sum * factor.Multiplier) + ((Int128)1 << (30 - factor.Shift))) >> (31 - factor.Shift));

    /// <summary>A factor of 15 bits, and one rounding, upwards at ties.</summary>
    public static long ScaleWide(long sum, (long Multiplier, int Shift) factor)
    {
        long reduced = factor.Multiplier >= 0x7FFF0000 ? 0x7FFF : (factor.Multiplier + 0x8000) / 0x10000;
        return (long)((((Int128)sum * reduced) + ((Int128)1 << (14 - factor.Shift))) >> (15 - factor.Shift));
    }

    /// <summary>A quotient rounded to the nearest; a tie goes away from zero, or upwards.</summary>
    private static long Divide(Int128 value, Int128 divisor, bool awayAtTies)
    {
        var magnitude = Int128.Abs(value);
        var twice = 2 * (magnitude % divisor);
        var quotient = (magnitude / divisor) + (twice > divisor || (twice == divisor && awayAtTies) ? 1 : 0);
        return (long)(value < 0 ? -quotient : quotient);
    }
}
