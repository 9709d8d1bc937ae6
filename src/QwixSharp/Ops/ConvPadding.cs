namespace QwixSharp.Ops;

/// <summary>
/// The padding of a convolution: <c>"VALID"</c> (none), <c>"SAME"</c> (as much as the result needs to be ⌈length ÷ stride⌉
/// long, the odd one at the end), <c>"SAME_LOWER"</c> (the odd one at the start), or a pair for each spatial axis. Text
/// and arrays of pairs convert to it.
/// </summary>
public sealed class ConvPadding
{
    private static readonly string[] Names = ["SAME", "SAME_LOWER", "VALID"];

    private readonly string? _name;
    private readonly (long Low, long High)[] _pairs;

    private ConvPadding(string? name, (long Low, long High)[] pairs)
    {
        _name = name;
        _pairs = pairs;
    }

    /// <summary>No padding.</summary>
    public static ConvPadding Valid { get; } = new("VALID", []);

    /// <summary>A result as long as the input over the stride, rounded up; the odd one at the end.</summary>
    public static ConvPadding Same { get; } = new("SAME", []);

    /// <summary>A result as long as the input over the stride, rounded up; the odd one at the start.</summary>
    public static ConvPadding SameLower { get; } = new("SAME_LOWER", []);

    /// <summary>How much is added at the start and the end of each spatial axis; negative numbers cut.</summary>
    /// <param name="pairs">A pair for each spatial axis.</param>
    /// <returns>The padding.</returns>
    public static ConvPadding Explicit(params ReadOnlySpan<(long Low, long High)> pairs) => new(null, pairs.ToArray());

    /// <summary>A padding by its name.</summary>
    /// <param name="name"><c>SAME</c>, <c>SAME_LOWER</c> or <c>VALID</c>; case does not matter.</param>
    /// <exception cref="ArgumentException">The name is none of them.</exception>
    public static implicit operator ConvPadding(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        return Names.FirstOrDefault(n => n.Equals(name, StringComparison.OrdinalIgnoreCase)) is { } known
            ? new(known, [])
            : throw new ArgumentException($"Unknown padding \"{name}\". Write SAME, SAME_LOWER or VALID, or give a pair for each spatial axis.", nameof(name));
    }

    /// <summary>A padding by pairs.</summary>
    /// <param name="pairs">A pair for each spatial axis.</param>
    public static implicit operator ConvPadding((long Low, long High)[] pairs) => Explicit(pairs);

    /// <summary>The name, or the pairs.</summary>
    /// <returns>Text.</returns>
    public override string ToString() => _name ?? $"[{string.Join(", ", _pairs)}]";

    /// <summary>The pair of each spatial axis.</summary>
    /// <param name="lengths">The length of each spatial axis of the input.</param>
    /// <param name="windows">The length of each spatial axis of the kernel, dilated.</param>
    /// <param name="strides">The strides.</param>
    /// <param name="lhsDilation">The dilation of the input, with which <c>SAME</c> has no agreed meaning.</param>
    internal (long Low, long High)[] Resolve(long[] lengths, long[] windows, long[] strides, long[] lhsDilation)
    {
        switch (_name)
        {
            case null:
                return _pairs.Length == lengths.Length
                    ? _pairs
                    : throw new ArgumentException($"The padding {this} has {_pairs.Length} pairs for {lengths.Length} spatial axes.");
            case "VALID":
                return [.. lengths.Select(_ => (0L, 0L))];
        }

        if (lhsDilation.Any(d => d != 1))
            throw new ArgumentException($"The padding {this} is not defined for an input that is dilated: give a pair for each spatial axis.");
        return [.. lengths.Select((length, i) => Split(Math.Max(0, ((((length + strides[i] - 1) / strides[i]) - 1) * strides[i]) + windows[i] - length)))];

        (long, long) Split(long total) => _name == "SAME" ? (total / 2, total - (total / 2)) : (total - (total / 2), total / 2);
    }
}
