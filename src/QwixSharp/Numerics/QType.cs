namespace QwixSharp.Numerics;

/// <summary>
/// A quantized number type: what the codes of a quantized array stand for. The instances are the static properties;
/// a name of the reference, such as <c>"int4"</c>, converts to one.
/// </summary>
/// <remarks>
/// Integers are int1 (binary: −1 and +1) to int8 and int16; floating-point types are <c>float8_e4m3fn</c> (short name
/// <c>fp8</c>) and <c>float8_e5m2</c>; <c>nf4</c> is the 4-bit NormalFloat of QLoRA; <c>mxfp8</c>, <c>mxfp8_16</c>,
/// <c>mxfp4</c> and <c>nvfp4</c> are micro-scaled: small floats with one scale of few bits for each 32 or 16 values.
/// </remarks>
public sealed class QType
{
    private static readonly Dictionary<string, QType> ByName = new(StringComparer.OrdinalIgnoreCase);

    private QType(string name, QTypeKind kind, int bits)
    {
        Name = name;
        Kind = kind;
        Bits = bits;
        ByName.Add(name, this);
    }

    /// <summary>Binary: the codes −1 and +1, where 0 counts as +1. Eight codes to a byte.</summary>
    public static QType Int1 { get; } = new("int1", QTypeKind.Integer, 1) { SymmetricBound = 1.0, Min = -1, Max = 1 };

    /// <summary>Integers −2…1. Four codes to a byte.</summary>
    public static QType Int2 { get; } = Integer(2);

    /// <summary>Integers −4…3. Two codes to a byte.</summary>
    public static QType Int3 { get; } = Integer(3);

    /// <summary>Integers −8…7. Two codes to a byte.</summary>
    public static QType Int4 { get; } = Integer(4, asymmetric: true);

    /// <summary>Integers −16…15, a byte each.</summary>
    public static QType Int5 { get; } = Integer(5);

    /// <summary>Integers −32…31, a byte each.</summary>
    public static QType Int6 { get; } = Integer(6);

    /// <summary>Integers −64…63, a byte each.</summary>
    public static QType Int7 { get; } = Integer(7);

    /// <summary>Integers −128…127, a byte each.</summary>
    public static QType Int8 { get; } = Integer(8, asymmetric: true);

    /// <summary>Integers −32768…32767, two bytes each.</summary>
    public static QType Int16 { get; } = new("int16", QTypeKind.Integer, 16)
    {
        SymmetricBound = 32768.0,
        Min = short.MinValue,
        Max = short.MaxValue,
        SupportsAsymmetric = true,
    };

    /// <summary>8-bit floats with 4 exponent and 3 mantissa bits, largest value 448 (short name <c>fp8</c>).</summary>
    public static QType Float8E4M3Fn { get; } = Float("float8_e4m3fn", MiniFloat.E4M3Fn);

    /// <summary>8-bit floats with 5 exponent and 2 mantissa bits, largest finite value 57344.</summary>
    public static QType Float8E5M2 { get; } = Float("float8_e5m2", MiniFloat.E5M2);

    /// <summary>4-bit NormalFloat: sixteen levels from −1 to 1 (QLoRA, arXiv 2305.14314, appendix E).</summary>
    public static QType NF4 { get; } = new("nf4", QTypeKind.NormalFloat, 4) { SymmetricBound = 1.0 };

    /// <summary>Micro-scaled <c>float8_e4m3fn</c>: tiles of 32, scales that are powers of two (OCP MX).</summary>
    public static QType MxFp8 { get; } = MicroScaled("mxfp8", MiniFloat.E4M3Fn, 32);

    /// <summary><see cref="MxFp8"/> with tiles of 16.</summary>
    public static QType MxFp8Tile16 { get; } = MicroScaled("mxfp8_16", MiniFloat.E4M3Fn, 16);

    /// <summary>Micro-scaled 4-bit floats (e2m1): tiles of 32, scales that are powers of two (OCP MX).</summary>
    public static QType MxFp4 { get; } = MicroScaled("mxfp4", MiniFloat.E2M1Fn, 32);

    /// <summary>Micro-scaled 4-bit floats (e2m1): tiles of 16, scales rounded to <c>float8_e4m3fn</c>.</summary>
    public static QType NvFp4 { get; } = MicroScaled("nvfp4", MiniFloat.E2M1Fn, 16);

    /// <summary>All types, in the order of their declaration.</summary>
    public static IReadOnlyList<QType> All { get; } = [.. ByName.Values.Distinct()];

    /// <summary>The name, as the reference spells it.</summary>
    public string Name { get; }

    /// <summary>What kind of numbers the codes stand for.</summary>
    public QTypeKind Kind { get; }

    /// <summary>The bits of one code.</summary>
    public int Bits { get; }

    /// <summary>
    /// The bits that a stored code takes: codes of four bits and fewer are packed (three bits take four), the others
    /// take whole bytes.
    /// </summary>
    public int StorageBits => Bits switch { 1 or 2 => Bits, <= 4 => 4, <= 8 => 8, _ => 16 };

    /// <summary>
    /// B, where symmetric quantization maps [−absmax, absmax] to [−B, B] before rounding: qmax + 0.5 for integers of
    /// up to 8 bits, so that the last bucket is used in full; 32768 for int16; the largest finite value for floats.
    /// </summary>
    public double SymmetricBound { get; private init; }

    /// <summary>Whether the type can have a zero point: int4, int8 and int16 only.</summary>
    public bool SupportsAsymmetric { get; private init; }

    /// <summary>The tile size that a micro-scaled type asks for; null for the others.</summary>
    public int? RequiredTileSize { get; private init; }

    /// <summary>Whether the type is micro-scaled.</summary>
    public bool IsMicroScaled => RequiredTileSize is not null;

    /// <summary>
    /// Whether a product may be computed on codes and dequantized after it: true for all but <c>nf4</c>, whose codes
    /// are indices.
    /// </summary>
    public bool CanDequantizeOnOutput => Kind != QTypeKind.NormalFloat;

    /// <summary>The smallest code of an integer type.</summary>
    internal int Min { get; private init; }

    /// <summary>The largest code of an integer type.</summary>
    internal int Max { get; private init; }

    /// <summary>The format of a floating-point type; null for the others.</summary>
    internal MiniFloat? FloatFormat { get; private init; }

    /// <summary>Finds a type by its name.</summary>
    /// <param name="name">A name of the reference (<c>int8</c>, <c>float8_e4m3fn</c>, <c>nf4</c>, …) or <c>fp8</c>; case does not matter.</param>
    /// <returns>The type.</returns>
    /// <exception cref="ArgumentException">No type has that name; the message lists those that exist.</exception>
    public static QType Parse(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        if (TryParse(name, out var qtype))
            return qtype;
        throw new ArgumentException(
            $"Unknown qtype \"{name}\". Known are: {string.Join(", ", All.Select(t => t.Name))}, and fp8 for float8_e4m3fn.", nameof(name));
    }

    /// <summary>Finds a type by its name.</summary>
    /// <param name="name">The name, as in <see cref="Parse"/>.</param>
    /// <param name="qtype">The type, where there is one.</param>
    /// <returns>Whether a type has that name.</returns>
    public static bool TryParse(string? name, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out QType? qtype)
    {
        var key = name?.Trim() ?? "";
        if (key.Equals("fp8", StringComparison.OrdinalIgnoreCase))
            key = "float8_e4m3fn";
        return ByName.TryGetValue(key, out qtype);
    }

    /// <summary>Converts a name; see <see cref="Parse"/>.</summary>
    /// <param name="name">The name.</param>
    /// <exception cref="ArgumentException">No type has that name.</exception>
    [return: System.Diagnostics.CodeAnalysis.NotNullIfNotNull(nameof(name))]
    public static implicit operator QType?(string? name) => name is null ? null : Parse(name);

    /// <summary>The name of the type.</summary>
    /// <returns><see cref="Name"/>.</returns>
    public override string ToString() => Name;

    private static QType Integer(int bits, bool asymmetric = false) => new($"int{bits}", QTypeKind.Integer, bits)
    {
        SymmetricBound = (1 << (bits - 1)) - 0.5,
        Min = -(1 << (bits - 1)),
        Max = (1 << (bits - 1)) - 1,
        SupportsAsymmetric = asymmetric,
    };

    private static QType Float(string name, MiniFloat format) =>
        new(name, QTypeKind.Float, format.Bits) { SymmetricBound = format.MaxValue, FloatFormat = format };

    private static QType MicroScaled(string name, MiniFloat format, int tileSize) =>
        new(name, QTypeKind.Float, format.Bits) { SymmetricBound = format.MaxValue, FloatFormat = format, RequiredTileSize = tileSize };
}
