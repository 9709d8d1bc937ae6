namespace QwixSharp.Ops;

/// <summary>
/// The layouts of a convolution by letters, such as <c>NHWC</c>, <c>HWIO</c>, <c>NHWC</c>: N batch, C feature, O output
/// feature, I input feature; any other letters are spatial axes, the same in all three.
/// </summary>
/// <param name="Lhs">The layout of the input.</param>
/// <param name="Rhs">The layout of the kernel. Strides, padding and dilations follow the order of its spatial axes.</param>
/// <param name="Output">The layout of the result.</param>
public sealed record ConvDimensionNumbers(string Lhs, string Rhs, string Output)
{
    /// <summary>PyTorch's layout: NC…, OI…, NC….</summary>
    /// <param name="spatialAxes">The number of spatial axes, 0 to 3.</param>
    /// <returns>The layouts.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The number is below 0 or above 3.</exception>
    public static ConvDimensionNumbers ChannelsFirst(int spatialAxes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(spatialAxes);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(spatialAxes, 3);
        string spatial = "DHW"[(3 - spatialAxes)..];
        return new("NC" + spatial, "OI" + spatial, "NC" + spatial);
    }

    /// <summary>Layouts as a tuple.</summary>
    /// <param name="layouts">The layouts of input, kernel and result.</param>
    public static implicit operator ConvDimensionNumbers((string Lhs, string Rhs, string Output) layouts) => new(layouts.Lhs, layouts.Rhs, layouts.Output);

    /// <summary>The three layouts.</summary>
    /// <returns>Text such as <c>(NHWC, HWIO, NHWC)</c>.</returns>
    public override string ToString() => $"({Lhs}, {Rhs}, {Output})";

    /// <summary>The axes in canonical order for each part: (N, C, spatial), (O, I, spatial), (N, C, spatial).</summary>
    /// <exception cref="ArgumentException">The layouts do not fit each other.</exception>
    internal ConvAxes Resolve()
    {
        string spatial = string.Concat(Rhs.Where(c => c is not ('O' or 'I')));
        if (spatial.Length > 3)
            throw new ArgumentException($"A convolution can have at most 3 spatial axes, but the layouts {this} have {spatial.Length}.");
        return new ConvAxes(Find(Lhs, "NC" + spatial), Find(Rhs, "OI" + spatial), Find(Output, "NC" + spatial));

        long[] Find(string layout, string letters) =>
            layout.Length == letters.Length && letters.All(layout.Contains)
                ? [.. letters.Select(letter => (long)layout.IndexOf(letter))]
                : throw new ArgumentException($"The layouts {this} do not fit each other: {layout} should have the letters {letters}, each once.");
    }
}

/// <summary>For each part of a convolution, its axis for (N, C, spatial…), (O, I, spatial…) and (N, C, spatial…).</summary>
internal sealed record ConvAxes(long[] Lhs, long[] Rhs, long[] Output)
{
    internal int SpatialRank => Lhs.Length - 2;
}
