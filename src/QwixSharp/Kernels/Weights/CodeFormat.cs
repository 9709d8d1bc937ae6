namespace QwixSharp.Kernels.Weights;

/// <summary>How the codes of a packed weight are stored and what number a code stands for.</summary>
internal enum CodeFormat
{
    /// <summary>One signed byte a code: int5 … int8. The number is the code.</summary>
    Int8,

    /// <summary>Half a byte a code, stored as code + 8: int1 … int4. The number is the code.</summary>
    Int4,

    /// <summary>Half a byte a code: an index into a table of 16 numbers (nf4, e2m1).</summary>
    Codebook4,

    /// <summary>One byte a code: an index into a table of 256 numbers (fp8).</summary>
    Table8,
}
