namespace QwixSharp.Numerics;

/// <summary>
/// A small floating-point format without infinities in use: sign, exponent and mantissa bits. Codes without their
/// sign bit grow with the magnitude they stand for, so that encoding is a search among midpoints.
/// </summary>
/// <remarks>Formats: OCP 8-bit Floating Point Specification (OFP8) 1.0, and OCP Microscaling Formats (MX) 1.0 for e2m1.</remarks>
internal sealed class MiniFloat
{
    private MiniFloat(int exponentBits, int mantissaBits, int bias, int magnitudeCount)
    {
        Bits = 1 + exponentBits + mantissaBits;
        MantissaBits = mantissaBits;
        Bias = bias;
        Magnitudes = [.. Enumerable.Range(0, magnitudeCount).Select(code => Decode(code, mantissaBits, bias))];
        RoundingBounds = [.. Enumerable.Range(0, magnitudeCount - 1).Select(Bound)];
        DecodeTable = MakeDecodeTable();
    }

    /// <summary>e4m3 with no infinities: codes up to 0x7E (448); 0x7F is not a number.</summary>
    internal static MiniFloat E4M3Fn { get; } = new(4, 3, bias: 7, magnitudeCount: 127);

    /// <summary>e5m2: finite codes up to 0x7B (57344).</summary>
    internal static MiniFloat E5M2 { get; } = new(5, 2, bias: 15, magnitudeCount: 124);

    /// <summary>e2m1: 0, 0.5, 1, 1.5, 2, 3, 4, 6.</summary>
    internal static MiniFloat E2M1Fn { get; } = new(2, 1, bias: 1, magnitudeCount: 8);

    /// <summary>Sign, exponent and mantissa bits together.</summary>
    internal int Bits { get; }

    /// <summary>The bits of the mantissa.</summary>
    internal int MantissaBits { get; }

    /// <summary>What is subtracted from an exponent as it is stored.</summary>
    internal int Bias { get; }

    /// <summary>The magnitude that each code stands for, by code; ascending.</summary>
    internal float[] Magnitudes { get; }

    /// <summary>
    /// Upper bounds: a magnitude m has code c where bounds[c − 1] &lt; m ≤ bounds[c]. They are the midpoints between
    /// neighbours, or the float just below where a tie goes to the upper, even code.
    /// </summary>
    internal float[] RoundingBounds { get; }

    /// <summary>The largest finite value.</summary>
    internal float MaxValue => Magnitudes[^1];

    /// <summary>The value of every bit pattern, sign bit included; patterns that are not numbers give NaN.</summary>
    internal float[] DecodeTable { get; }

    private float[] MakeDecodeTable()
    {
        int half = 1 << (Bits - 1);
        var table = new float[2 * half];
        for (int code = 0; code < half; code++)
        {
            float value = code < Magnitudes.Length ? Magnitudes[code] : float.NaN;
            table[code] = value;
            table[code + half] = -value;
        }

        return table;
    }

    private static float Decode(int code, int mantissaBits, int bias)
    {
        int exponent = code >> mantissaBits;
        double mantissa = code & ((1 << mantissaBits) - 1);
        double unit = double.Pow(2, -mantissaBits);
        return exponent == 0
            ? (float)(mantissa * unit * double.Pow(2, 1 - bias))
            : (float)((1 + (mantissa * unit)) * double.Pow(2, exponent - bias));
    }

    private float Bound(int code)
    {
        float middle = (Magnitudes[code] + Magnitudes[code + 1]) / 2;
        return code % 2 == 0 ? middle : float.BitDecrement(middle);
    }
}
