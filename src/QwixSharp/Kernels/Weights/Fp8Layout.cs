namespace QwixSharp.Kernels.Weights;

/// <summary>
/// Finds out whether a table of 256 numbers is an fp8 type that the kernels decode with shifts.
/// </summary>
/// <remarks>
/// An fp8 code is sign, exponent, mantissa. Its bits put under a float's sign and exponent give a float that is the number
/// times a power of two, subnormal numbers included: 2^-120 for e4m3 (bias 7) and 2^-112 for e5m2 (bias 15).
/// </remarks>
internal static unsafe class Fp8Layout
{
    /// <summary>log2 of the largest magnitude of a row whose products with such small numbers neither overflow nor become subnormal.</summary>
    public const int RowExponent = 96;

    /// <summary>The shifts tried: from the top of the word to the place of a float's exponent, e4m3 first.</summary>
    private static readonly int[] Shifts = [4, 3];

    /// <summary>The power of two by which the shifted bits are smaller than the number.</summary>
    /// <param name="shift">4 for e4m3, 3 for e5m2.</param>
    public static int Exponent(int shift) => shift == 4 ? 120 : 112;

    /// <summary>Of a code shifted into place: its sign and, below the copies of it that the shift makes, exponent and mantissa.</summary>
    /// <param name="shift">4 for e4m3, 3 for e5m2.</param>
    public static int Mask(int shift) => unchecked((int)(0x80000000 | 0x7F000000u >> shift));

    /// <summary>The shift that decodes every code that occurs, or 0.</summary>
    /// <param name="codes">The codes.</param>
    /// <param name="count">How many.</param>
    /// <param name="table">The numbers of the codes.</param>
    public static int Find(byte* codes, long count, ReadOnlySpan<float> table)
    {
        Span<bool> used = stackalloc bool[256];
        for (var i = 0L; i < count; i++)
            used[codes[i]] = true;
        used[0] = true;
        foreach (var shift in Shifts)
            if (Decodes(shift, used, table))
                return shift;
        return 0;
    }

    private static bool Decodes(int shift, ReadOnlySpan<bool> used, ReadOnlySpan<float> table)
    {
        for (var code = 0; code < 256; code++)
            if (used[code] && BitConverter.SingleToInt32Bits(table[code]) != BitConverter.SingleToInt32Bits(Decode((byte)code, shift)))
                return false;
        return true;
    }

    private static float Decode(byte code, int shift)
    {
        var bits = (uint)(code & 0x80) << 24 | (uint)(code & 0x7F) << (24 - shift);
        return (float)(BitConverter.UInt32BitsToSingle(bits) * Math.ScaleB(1.0, Exponent(shift)));
    }
}
