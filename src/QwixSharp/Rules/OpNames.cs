namespace QwixSharp.Rules;

/// <summary>The names of ops that a rule can be restricted to.</summary>
public static class OpNames
{
    /// <summary>
    /// Matrix products: linear, matmul, mm, bmm, mv, addmm, baddbmm, tensordot and their kin, bilinear, and the two products
    /// inside attention.
    /// </summary>
    public const string DotGeneral = "dot_general";

    /// <summary>Einstein sums.</summary>
    public const string Einsum = "einsum";

    /// <summary>Convolutions of one to three dimensions, transposed ones too.</summary>
    public const string ConvGeneralDilated = "conv_general_dilated";

    /// <summary>Look-ups in an embedding table. The reference does not quantize these; name the op, or exclude it by a rule in front, to choose.</summary>
    public const string Embedding = "embedding";

    internal static readonly IReadOnlySet<string> All = new HashSet<string> { DotGeneral, Einsum, ConvGeneralDilated, Embedding };
}
