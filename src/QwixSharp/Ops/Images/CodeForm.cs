using QwixSharp.Kernels.Activations;
using QwixSharp.Numerics;

namespace QwixSharp.Ops.Images;

/// <summary>How images become codes.</summary>
/// <param name="Scale">What a code stands for.</param>
/// <param name="ZeroPoint">The code of 0.</param>
/// <param name="Range">The range of codes.</param>
internal readonly record struct CodeForm(float Scale, int ZeroPoint, CodeRange Range)
{
    /// <summary>
    /// The same codes of values that are not negative, less 128: where they were from 0 on, the bytes of images have 7 bits then.
    /// </summary>
    internal CodeForm Narrow => ZeroPoint == 0 ? new(Scale, -128, new CodeRange(-128, Range.Highest - 128)) : this;

    /// <summary>Codes of an integer type.</summary>
    /// <param name="scale">What a code stands for.</param>
    /// <param name="zeroPoint">The code of 0.</param>
    /// <param name="qtype">The type.</param>
    internal static CodeForm Of(float scale, int zeroPoint, QType qtype) => new(scale, zeroPoint, CodeRange.OfBits(qtype.Bits));
}
