namespace QwixSharp.Kernels.Activations;

/// <summary>Where the quantized activations of a product come from.</summary>
internal enum QuantizedSource
{
    /// <summary>Codes that the caller has, with their scales.</summary>
    Codes,

    /// <summary>Floating-point values, one scale for all of them known before.</summary>
    Static,

    /// <summary>Floating-point values, a scale for each row (or for each tile of each row) from its largest magnitude.</summary>
    Dynamic,

    /// <summary>float32 values that are kept whole, as <see cref="DigitPlanes"/>: a weight-only product.</summary>
    Planes,
}

/// <summary>The quantized activations of a product: x [M, K].</summary>
internal readonly unsafe record struct QuantizedInput
{
    /// <summary>Which of the fields below count.</summary>
    public required QuantizedSource Source { get; init; }

    /// <summary>sbyte codes, or floating-point values.</summary>
    public required nint Values { get; init; }

    /// <summary>The distance from one row to the next, in elements.</summary>
    public required long RowStride { get; init; }

    /// <summary>M.</summary>
    public required int Rows { get; init; }

    /// <summary>Static and dynamic: the format of the values.</summary>
    public FloatFormat Format { get; init; }

    /// <summary>
    /// Codes: whether their scales and the weight's are bfloat16 and a tile is a whole channel, so that sums are scaled step by
    /// step in bfloat16.
    /// </summary>
    public bool ScalesInBFloat16 { get; init; }

    /// <summary>Codes: where rows come from if they are windows of an image, an <see cref="Convolutions.ImageWindows"/>; or null.</summary>
    public nint Windows { get; init; }

    /// <summary>The codes' range; for <see cref="QuantizedSource.Codes"/> it is not looked at.</summary>
    public CodeRange Range { get; init; }

    /// <summary>Codes: the scales, [M] or [M, tiles] or [1].</summary>
    public nint Scales { get; init; }

    /// <summary>Codes: the distance from one row's scales to the next; 0 when all rows share them.</summary>
    public long ScaleRowStride { get; init; }

    /// <summary>The values, where they are floating-point ones.</summary>
    public FloatInput Floats => new(Values, RowStride, Rows, Format);

    /// <summary>How many rows of codes a row of x becomes.</summary>
    public int Planes => Source == QuantizedSource.Planes ? DigitPlanes.Count : 1;

    /// <summary>Whether every tile of K of a row has a scale of its own (codes and dynamic).</summary>
    public bool ScalePerTile { get; init; }

    /// <summary>Codes: zero points as int32, [M] or [1]; null means 0.</summary>
    public nint ZeroPoints { get; init; }

    /// <summary>Codes: 1 when each row has its zero point, 0 when all share one.</summary>
    public long ZeroPointStride { get; init; }

    /// <summary>Static: the scale.</summary>
    public float StaticScale { get; init; }

    /// <summary>Static: the zero point.</summary>
    public int StaticZeroPoint { get; init; }

    /// <summary>Whether zero points may differ from 0.</summary>
    public bool HasZeroPoints => Source switch
    {
        QuantizedSource.Codes => ZeroPoints != 0,
        QuantizedSource.Static => StaticZeroPoint != 0,
        _ => false,
    };

    /// <summary>The zero point of a row.</summary>
    /// <param name="row">m.</param>
    public int ZeroPoint(int row) => Source switch
    {
        QuantizedSource.Codes => ZeroPoints == 0 ? 0 : ((int*)ZeroPoints)[row * ZeroPointStride],
        QuantizedSource.Static => StaticZeroPoint,
        _ => 0,
    };
}
