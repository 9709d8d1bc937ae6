namespace QwixSharp.Numerics;

/// <summary>The sixteen levels of 4-bit NormalFloat (QLoRA, arXiv 2305.14314, appendix E).</summary>
internal static class NormalFloat4
{
    /// <summary>The levels, ascending; a code is an index.</summary>
    internal static readonly float[] Levels =
    [
        -1.0f,
        -0.6961928009986877f,
        -0.5250730514526367f,
        -0.39491748809814453f,
        -0.28444138169288635f,
        -0.18477343022823334f,
        -0.09105003625154495f,
        0.0f,
        0.07958029955625534f,
        0.16093020141124725f,
        0.24611230194568634f,
        0.33791524171829224f,
        0.44070982933044434f,
        0.5626170039176941f,
        0.7229568362236023f,
        1.0f,
    ];

    /// <summary>
    /// The largest number that has each code but the last. In float32, where distances to levels are rounded, it need not be the midpoint
    /// of two levels; magnitudes are those of scaled values, about 1 at most.
    /// </summary>
    internal static readonly float[] RoundingBounds = [.. Enumerable.Range(0, Levels.Length - 1).Select(Bound)];

    private static float Bound(int code)
    {
        float below = Levels[code], above = Levels[code + 1], bound = (below + above) / 2;
        while (!IsBelow(bound))
            bound = float.BitDecrement(bound);
        while (IsBelow(float.BitIncrement(bound)))
            bound = float.BitIncrement(bound);
        return bound;

        bool IsBelow(float number) => MathF.Abs(below - number) <= MathF.Abs(above - number);
    }
}
