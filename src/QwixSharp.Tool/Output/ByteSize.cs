using System.Globalization;
using System.Text.RegularExpressions;

namespace QwixSharp.Tool.Output;

/// <summary>Sizes as people write them.</summary>
internal static partial class ByteSize
{
    /// <summary>Reads <c>300MB</c>, <c>1.5 GB</c> or a number of bytes; units are powers of 1,000.</summary>
    /// <returns>The bytes; null where it is no size.</returns>
    internal static long? TryParse(string text)
    {
        var match = Pattern().Match(text);
        if (!match.Success || !double.TryParse(match.Groups[1].Value, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double number))
            return null;
        double factor = match.Groups[2].Value.ToUpperInvariant() switch { "KB" => 1e3, "MB" => 1e6, "GB" => 1e9, "TB" => 1e12, _ => 1 };
        return number * factor < long.MaxValue ? (long)(number * factor) : null;
    }

    [GeneratedRegex(@"^\s*([0-9.]+)\s*(B|kB|MB|GB|TB)?\s*$", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex Pattern();
}
