namespace QwixSharp.Numerics;

/// <summary>What kind of numbers the codes of a <see cref="QType"/> stand for.</summary>
public enum QTypeKind
{
    /// <summary>Evenly spaced integers.</summary>
    Integer,

    /// <summary>Small floating-point numbers.</summary>
    Float,

    /// <summary>Indices into a table of sixteen levels (NormalFloat).</summary>
    NormalFloat,
}
