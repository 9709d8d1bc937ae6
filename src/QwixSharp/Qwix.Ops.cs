using QwixSharp.Ops;
using static TorchSharp.torch;

namespace QwixSharp;

/// <content>Products on quantized arrays.</content>
public static partial class Qwix
{
    /// <summary>The general product of two arrays, each a tensor or quantized.</summary>
    /// <param name="lhs">The left operand.</param>
    /// <param name="rhs">The right operand.</param>
    /// <param name="dimensionNumbers">Which axes are contracted and which are batch axes.</param>
    /// <param name="preferredElementType">The dtype of the result; that of the operands when dequantized unless told.</param>
    /// <returns>A tensor [batch…, free axes of lhs…, free axes of rhs…] that the caller owns. Gradients flow to floating-point operands.</returns>
    /// <remarks>
    /// Two quantized operands are multiplied as codes, integers exactly, and the result is scaled. Operands are
    /// dequantized first where one of them is floating-point, is <c>nf4</c>, or has tiles of fewer than 128 values along
    /// the contraction.
    /// </remarks>
    /// <exception cref="ArgumentException">
    /// The dimension numbers do not fit the shapes, both operands are multiplied as codes and have zero points, or tiles of different sizes meet.
    /// </exception>
    public static Tensor DotGeneral(Operand lhs, Operand rhs, DotDimensionNumbers dimensionNumbers, ScalarType? preferredElementType = null) =>
        DotGeneralOp.Compute(lhs, rhs, dimensionNumbers, preferredElementType);

    /// <summary>Einstein summation of tensors and quantized arrays.</summary>
    /// <param name="equation">Such as <c>"bqhd,bkhd->bhqk"</c>; an ellipsis and an implicit output are allowed.</param>
    /// <param name="operands">One operand for each term. An axis whose length divides that of another with its index is repeated.</param>
    /// <returns>A tensor that the caller owns. Gradients flow to floating-point operands.</returns>
    /// <exception cref="ArgumentException">The equation does not fit the operands; or as in <see cref="DotGeneral"/>.</exception>
    public static Tensor Einsum(string equation, params ReadOnlySpan<Operand> operands) => EinsumOp.Compute(equation, null, operands);

    /// <summary>Einstein summation of tensors and quantized arrays, with the dtype of the result.</summary>
    /// <param name="equation">The equation; see <see cref="Einsum(string, ReadOnlySpan{Operand})"/>.</param>
    /// <param name="preferredElementType">The dtype of the result and of what is computed on the way.</param>
    /// <param name="operands">One operand for each term.</param>
    /// <returns>A tensor that the caller owns.</returns>
    /// <exception cref="ArgumentException">The equation does not fit the operands; or as in <see cref="DotGeneral"/>.</exception>
    public static Tensor Einsum(string equation, ScalarType preferredElementType, params ReadOnlySpan<Operand> operands) =>
        EinsumOp.Compute(equation, preferredElementType, operands);
}
