namespace QwixSharp.Tool.Analysis;

/// <summary>What each scheme would do to one weight.</summary>
/// <param name="Name">The tensor.</param>
/// <param name="Shape">Its shape.</param>
/// <param name="Options">The schemes that fit, the most precise first.</param>
internal sealed record LayerSensitivity(string Name, IReadOnlyList<long> Shape, IReadOnlyList<SchemeEffect> Options)
{
    /// <summary>How many values the weight has.</summary>
    internal long Values => Shape.Aggregate(1L, (a, b) => a * b);
}

/// <summary>What a scheme does to a weight.</summary>
/// <param name="Scheme">The scheme.</param>
/// <param name="Bytes">The bytes that the weight then takes.</param>
/// <param name="SnrDb">The signal-to-noise ratio of its values in decibels.</param>
internal sealed record SchemeEffect(Scheme Scheme, long Bytes, double SnrDb)
{
    /// <summary>The noise as a part of the signal, both as power.</summary>
    internal double RelativeNoise => Math.Pow(10, -SnrDb / 10);
}
