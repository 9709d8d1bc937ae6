using System.Globalization;

namespace QwixSharp.Arrays;

/// <summary>How the range of an array is found.</summary>
public enum CalibrationKind
{
    /// <summary>Symmetric, from the largest magnitude.</summary>
    AbsMax,

    /// <summary>Asymmetric, from the smallest and the largest value; 0 is always inside.</summary>
    MinMax,

    /// <summary>Symmetric, a factor times the root mean square.</summary>
    Rms,

    /// <summary>A range that the user gives, for the whole tensor; symmetric where min = −max.</summary>
    Fixed,
}

/// <summary>
/// A calibration method, written <c>absmax[,factor]</c>, <c>minmax[,factor]</c>, <c>rms,factor</c>,
/// <c>fixed,min,max</c> or <c>fixed,max</c>. Text converts to it.
/// </summary>
public sealed record CalibrationMethod
{
    private CalibrationMethod(CalibrationKind kind, double? factor = null, double min = 0, double max = 0)
    {
        Kind = kind;
        Factor = factor;
        Min = min;
        Max = max;
    }

    /// <summary>The method.</summary>
    public CalibrationKind Kind { get; }

    /// <summary>What the range found is multiplied with; null is 1. Always given for <see cref="CalibrationKind.Rms"/>.</summary>
    public double? Factor { get; }

    /// <summary>The lower end of a fixed range.</summary>
    public double Min { get; }

    /// <summary>The upper end of a fixed range.</summary>
    public double Max { get; }

    /// <summary>Whether the method gives a range that is symmetric around 0, and thus no zero point.</summary>
    public bool IsSymmetric => Kind switch
    {
        CalibrationKind.MinMax => false,
        CalibrationKind.Fixed => Min + Max == 0,
        _ => true,
    };

    /// <summary>Whether values of the array can lie outside of the range, and be clipped.</summary>
    public bool CanClip => Kind is CalibrationKind.Rms or CalibrationKind.Fixed || Factor < 1.0;

    /// <summary>Symmetric quantization from the largest magnitude.</summary>
    /// <param name="factor">A factor for the range, such as 0.8 to clip it.</param>
    /// <returns>The method.</returns>
    public static CalibrationMethod AbsMax(double? factor = null) => new(CalibrationKind.AbsMax, Positive(factor));

    /// <summary>Asymmetric quantization from the smallest and the largest value.</summary>
    /// <param name="factor">A factor for the range.</param>
    /// <returns>The method.</returns>
    public static CalibrationMethod MinMax(double? factor = null) => new(CalibrationKind.MinMax, Positive(factor));

    /// <summary>Symmetric quantization from the root mean square.</summary>
    /// <param name="factor">The multiple of the root mean square at which the range ends.</param>
    /// <returns>The method.</returns>
    public static CalibrationMethod Rms(double factor) => new(CalibrationKind.Rms, Positive(factor));

    /// <summary>A fixed range for the whole tensor.</summary>
    /// <param name="min">The lower end, at most 0.</param>
    /// <param name="max">The upper end, at least 0.</param>
    /// <returns>The method.</returns>
    /// <exception cref="ArgumentException">The range is empty or does not contain 0.</exception>
    public static CalibrationMethod Fixed(double min, double max) =>
        min <= 0 && max >= 0 && min < max && double.IsFinite(max - min)
            ? new(CalibrationKind.Fixed, null, min, max)
            : throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"A fixed range must contain 0 and not be empty: got [{min}, {max}]."));

    /// <summary>Reads a method from text.</summary>
    /// <param name="text">The text; case and spaces do not matter.</param>
    /// <returns>The method.</returns>
    /// <exception cref="ArgumentException">The text is not a method; the message says what is.</exception>
    public static CalibrationMethod Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var parts = text.ToLowerInvariant().Split(',', StringSplitOptions.TrimEntries);
        var numbers = new double[parts.Length - 1];
        for (int i = 0; i < numbers.Length; i++)
        {
            if (!double.TryParse(parts[i + 1], NumberStyles.Float, CultureInfo.InvariantCulture, out numbers[i]))
                throw Invalid(text);
        }

        return (parts[0], numbers) switch
        {
            ("absmax", []) => AbsMax(),
            ("absmax", [var factor]) => AbsMax(factor),
            ("minmax", []) => MinMax(),
            ("minmax", [var factor]) => MinMax(factor),
            ("rms", [var factor]) => Rms(factor),
            ("rms", []) => throw new ArgumentException($"Calibration \"{text}\" needs a factor, such as \"rms,3\".", nameof(text)),
            ("fixed", [var max]) => Fixed(-max, max),
            ("fixed", [var min, var max]) => Fixed(min, max),
            _ => throw Invalid(text),
        };
    }

    /// <summary>Reads a method from text; see <see cref="Parse"/>.</summary>
    /// <param name="text">The text.</param>
    /// <exception cref="ArgumentException">The text is not a method.</exception>
    [return: System.Diagnostics.CodeAnalysis.NotNullIfNotNull(nameof(text))]
    public static implicit operator CalibrationMethod?(string? text) => text is null ? null : Parse(text);

    /// <summary>The method as text that <see cref="Parse"/> reads.</summary>
    /// <returns>The text.</returns>
    public override string ToString() => Kind switch
    {
        CalibrationKind.Fixed => string.Create(CultureInfo.InvariantCulture, $"fixed,{Min},{Max}"),
        _ when Factor is { } factor => string.Create(CultureInfo.InvariantCulture, $"{Kind.ToString().ToLowerInvariant()},{factor}"),
        _ => Kind.ToString().ToLowerInvariant(),
    };

    private static double? Positive(double? factor) => factor is null or > 0 && factor is null or < double.PositiveInfinity
        ? factor
        : throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"The factor of a calibration must be positive and finite: got {factor}."));

    private static ArgumentException Invalid(string text) => new(
        $"Unknown calibration \"{text}\". Write absmax[,factor], minmax[,factor], rms,factor, fixed,min,max or fixed,max.", nameof(text));
}
