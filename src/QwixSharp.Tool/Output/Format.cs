using System.Globalization;

namespace QwixSharp.Tool.Output;

/// <summary>Numbers as people read them.</summary>
internal static class Format
{
    private static readonly string[] Units = ["B", "kB", "MB", "GB", "TB"];

    /// <summary>A number of bytes in decimal units: <c>1.50 GB</c>.</summary>
    internal static string Bytes(long bytes)
    {
        double value = bytes;
        int unit = 0;
        while (value >= 999.5 && unit < Units.Length - 1)
        {
            value /= 1000;
            unit++;
        }

        return unit == 0 ? $"{bytes} B" : string.Create(CultureInfo.InvariantCulture, $"{value:G3} {Units[unit]}");
    }

    /// <summary>A count with separators.</summary>
    internal static string Count(long count) => count.ToString("N0", CultureInfo.InvariantCulture);

    /// <summary>A number with fixed decimals; infinities as <c>∞</c>.</summary>
    internal static string Number(double value, int decimals) => value switch
    {
        double.PositiveInfinity => "∞",
        double.NegativeInfinity => "-∞",
        _ => value.ToString("F" + decimals, CultureInfo.InvariantCulture),
    };

    /// <summary>A number of three significant digits.</summary>
    internal static string Short(double value) => value.ToString("G3", CultureInfo.InvariantCulture);

    /// <summary>A shape: <c>4096 × 1024</c>.</summary>
    internal static string Shape(IReadOnlyList<long> shape) => shape.Count == 0 ? "scalar" : string.Join(" × ", shape);
}
