namespace QwixSharp.Arrays;

/// <summary>
/// One part of an index into a <see cref="QArray"/>: a number, which removes its axis; a range with step 1;
/// <see cref="All"/>; <see cref="Ellipsis"/>, which stands for all axes not named; or <see cref="NewAxis"/>. Numbers,
/// <see cref="Index"/> and <see cref="Range"/> convert to it.
/// </summary>
public readonly record struct QIndex
{
    private QIndex(QIndexKind kind, Range range = default, long number = 0) => (Kind, Range, Number) = (kind, range, number);

    internal enum QIndexKind
    {
        Range,
        Number,
        Ellipsis,
        NewAxis,
    }

    /// <summary>The whole of an axis.</summary>
    public static QIndex All { get; } = Range.All;

    /// <summary>All axes that the index does not name.</summary>
    public static QIndex Ellipsis { get; } = new(QIndexKind.Ellipsis);

    /// <summary>A new axis of length 1.</summary>
    public static QIndex NewAxis { get; } = new(QIndexKind.NewAxis);

    internal QIndexKind Kind { get; }

    internal Range Range { get; }

    internal long Number { get; }

    /// <summary>One index of an axis; negative counts from the end.</summary>
    /// <param name="index">The index.</param>
    public static implicit operator QIndex(long index) => new(QIndexKind.Number, number: index);

    /// <summary>One index of an axis.</summary>
    /// <param name="index">The index; <c>^1</c> is the last.</param>
    public static implicit operator QIndex(Index index) => new(QIndexKind.Number, number: index.IsFromEnd ? -index.Value : index.Value);

    /// <summary>A range of an axis.</summary>
    /// <param name="range">The range.</param>
    public static implicit operator QIndex(Range range) => new(QIndexKind.Range, range);
}
