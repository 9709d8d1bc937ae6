using static TorchSharp.torch;

namespace QwixSharp.Providers.Odml.Device;

/// <summary>How LiteRT's integer kernels scale a sum: by a factor of 31 bits and a power of two, with a rounding for each.</summary>
internal static class FixedPoint
{
    /// <summary>A factor as <c>m · 2^(shift − 31)</c>, where m has 31 bits.</summary>
    internal static (long Multiplier, int Shift) Factor(double factor)
    {
        if (factor == 0)
            return (0, 0);
        int shift = Math.ILogB(factor) + 1;
        long multiplier = (long)Math.Round(Math.ScaleB(factor, 31 - shift), MidpointRounding.AwayFromZero);
        if (multiplier == 1L << 31)
            (multiplier, shift) = (multiplier / 2, shift + 1);
        return shift < -31 ? (0, 0) : (multiplier, shift);
    }

    /// <summary>Sums of 32 bits times factors, which broadcast: rounded to the factor's power of two, and again to whole numbers.</summary>
    internal static Tensor Scale(Tensor sums, params (long Multiplier, int Shift)[] factors)
    {
        Tensor multipliers = Numbers(factors, f => f.Multiplier), left = Numbers(factors, f => 1L << Math.Max(f.Shift, 0)), right = Numbers(factors, f => 1L << Math.Max(-f.Shift, 0));
        return DivideAway(HighHalf(sums * left * multipliers, 31), right);
    }

    /// <summary>Sums of 32 bits times factors, as matrix products scale them: rounded once, upwards at ties.</summary>
    internal static Tensor ScaleOnce(Tensor sums, params (long Multiplier, int Shift)[] factors)
    {
        Tensor multipliers = Numbers(factors, f => f.Multiplier), units = Numbers(factors, f => 1L << (31 - f.Shift));
        return DivideUpwards(sums * multipliers, units);
    }

    /// <summary>Sums of 64 bits: the factor keeps 15 of its bits, and there is one rounding, upwards at ties.</summary>
    internal static Tensor ScaleWide(Tensor sums, params (long Multiplier, int Shift)[] factors)
    {
        Tensor multipliers = Numbers(factors, f => f.Multiplier < 0x7FFF0000 ? (f.Multiplier + (1 << 15)) >> 16 : 0x7FFF), units = Numbers(factors, f => 1L << (15 - f.Shift));
        return DivideUpwards(sums * multipliers, units);
    }

    /// <summary>The upper half of twice a product of two numbers, rounded to nearest.</summary>
    /// <param name="product">The product.</param>
    /// <param name="bits">The bits of one of the numbers without its sign.</param>
    internal static Tensor HighHalf(Tensor product, int bits)
    {
        long half = 1L << (bits - 1);
        return (product + where(product.ge(0), tensor(half), tensor(1 - half))).div(tensor(1L << bits), RoundingMode.trunc);
    }

    /// <summary>Whole numbers divided by others, rounded to nearest and away from zero at ties.</summary>
    internal static Tensor DivideAway(Tensor values, Tensor units) => values.sign() * DivideUpwards(values.abs(), units);

    /// <summary>Whole numbers divided by others, rounded upwards at ties.</summary>
    internal static Tensor DivideUpwards(Tensor values, Tensor units) => (values + units.div(tensor(2L), RoundingMode.floor)).div(units, RoundingMode.floor);

    /// <summary>Numbers rounded to whole ones, away from zero at ties.</summary>
    internal static Tensor RoundAway(Tensor values) => values.sign() * (values.abs() + 0.5).floor();

    /// <summary>Whole numbers divided by a power of two, rounded downwards.</summary>
    internal static Tensor ShiftRight(Tensor values, int bits) => values.div(tensor(1L << bits), RoundingMode.floor);

    /// <summary>One number as a scalar, several along the first axis.</summary>
    private static Tensor Numbers((long Multiplier, int Shift)[] factors, Func<(long Multiplier, int Shift), long> number) =>
        factors is [var one] ? tensor(number(one)) : tensor(Array.ConvertAll(factors, f => number(f)));
}
