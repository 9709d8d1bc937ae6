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

    /// <summary>The general convolution of two arrays, each a tensor or quantized, with 0 to 3 spatial axes.</summary>
    /// <param name="lhs">The input.</param>
    /// <param name="rhs">The kernel.</param>
    /// <param name="windowStrides">The stride along each spatial axis.</param>
    /// <param name="padding"><c>"SAME"</c>, <c>"SAME_LOWER"</c>, <c>"VALID"</c> or a pair for each spatial axis; zeros are added.</param>
    /// <param name="lhsDilation">How far apart the values of the input are set, with zeros between them; 1 unless told.</param>
    /// <param name="rhsDilation">The same for the kernel.</param>
    /// <param name="dimensionNumbers">The layouts, such as <c>("NHWC", "HWIO", "NHWC")</c>; PyTorch's unless told.</param>
    /// <param name="featureGroupCount">The number of groups of features: group i of the input gives group i of the output features.</param>
    /// <param name="batchGroupCount">The number of groups of the batch: group i gives group i of the output features.</param>
    /// <param name="preferredElementType">The dtype of the result; that of the operands when dequantized unless told.</param>
    /// <returns>A tensor in the layout of the result that the caller owns. Gradients flow to floating-point operands.</returns>
    /// <remarks>
    /// Two quantized operands are convolved as codes, integers exactly, and the result is scaled. Operands are dequantized
    /// first where one of them is floating-point, is <c>nf4</c>, or has scales along other axes than the batch (lhs) or the
    /// output features (rhs).
    /// </remarks>
    /// <exception cref="ArgumentException">The arguments do not fit each other, or both operands have zero points.</exception>
    public static Tensor ConvGeneralDilated(
        Operand lhs,
        Operand rhs,
        IReadOnlyList<long> windowStrides,
        ConvPadding padding,
        IReadOnlyList<long>? lhsDilation = null,
        IReadOnlyList<long>? rhsDilation = null,
        ConvDimensionNumbers? dimensionNumbers = null,
        int featureGroupCount = 1,
        int batchGroupCount = 1,
        ScalarType? preferredElementType = null) =>
        ConvGeneralOp.Compute(lhs, rhs, windowStrides, padding, lhsDilation, rhsDilation, dimensionNumbers, featureGroupCount, batchGroupCount, preferredElementType);
}
