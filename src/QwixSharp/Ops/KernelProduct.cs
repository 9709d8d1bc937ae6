using QwixSharp.Arrays;
using QwixSharp.Kernels;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Weights;
using QwixSharp.Numerics;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>
/// Products on the CPU with the library's own kernels: a quantized matrix on the right, and on the left floating-point numbers
/// (weight-only) or codes of up to 8 bits, in one batch.
/// </summary>
internal static class KernelProduct
{
    /// <summary>Computes a product where the kernels can.</summary>
    /// <returns>[1, M, N] of the result dtype, or null.</returns>
    internal static Tensor? TryCompute(CanonicalProduct product)
    {
        var (lhs, rhs) = (product.Lhs, product.Rhs);
        if (rhs.Quantized is not { } weight || rhs.Batch != 1 || lhs.Batch != 1 || !rhs.Axes.InOrder || !PackedForm.CanServe(weight))
            return null;
        if (TensorMemory.FormatOf(product.ResultDtype) is null || TensorMemory.FormatOf(lhs.Dtype) is null || lhs.Device.type != DeviceType.CPU)
            return null;
        if (rhs.Rows == 0 || lhs.Rows == 0 || rhs.Depth == 0 || lhs.Rows > int.MaxValue)
            return null;
        if (lhs.Quantized is null)
            return lhs.NeedsGradient ? null : WeightOnly(lhs, rhs, product.ResultDtype);
        return CanMultiplyCodes(lhs, rhs) ? OnCodes(lhs, rhs, product.ResultDtype) : null;
    }

    private static bool CanMultiplyCodes(ProductOperand lhs, ProductOperand rhs)
    {
        var (left, right) = (lhs.Quantized!, rhs.Quantized!);
        return left.QType is { Kind: QTypeKind.Integer, Bits: <= 8 } && right.QType.Kind == QTypeKind.Integer
            && (lhs.Tile == lhs.Depth || lhs.Tile == rhs.Tile)
            && (left.ZeroPoint is null || lhs.Tile == lhs.Depth)
            && (left.Dtype != ScalarType.BFloat16 && right.Dtype != ScalarType.BFloat16 || ScalesInBFloat16(lhs, rhs));
    }

    /// <summary>Whether scaling rounds to bfloat16 at each step, which kernels do for whole channels alone.</summary>
    private static bool ScalesInBFloat16(ProductOperand lhs, ProductOperand rhs) =>
        lhs.Dtype == ScalarType.BFloat16 && rhs.Dtype == ScalarType.BFloat16
        && lhs.Tile == lhs.Depth && rhs.Tile == rhs.Depth && rhs.Depth <= PackedWeight.LongestTile;

    private static Tensor WeightOnly(ProductOperand lhs, ProductOperand rhs, ScalarType resultDtype)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var x = lhs.Values(lhs.Dtype).contiguous();
        var y = empty(1, lhs.Rows, rhs.Rows, dtype: resultDtype);
        var input = new FloatInput(TensorMemory.Address(x), lhs.Depth, (int)lhs.Rows, TensorMemory.FormatOf(lhs.Dtype)!.Value);
        MatMul.WeightOnly(input, PackedForm.Get(rhs), Output(y, rhs), get_num_threads());
        return y.MoveToOuterDisposeScope();
    }

    private static Tensor OnCodes(ProductOperand lhs, ProductOperand rhs, ScalarType resultDtype)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var codes = lhs.Codes().contiguous();
        var scales = lhs.Scales(lhs.Tile).to(ScalarType.Float32).contiguous();
        var zeroPoints = lhs.ZeroPoints(lhs.Tile)?.to(ScalarType.Int32).contiguous();
        var y = empty(1, lhs.Rows, rhs.Rows, dtype: resultDtype);
        var input = new QuantizedInput
        {
            Source = QuantizedSource.Codes,
            Values = TensorMemory.Address(codes),
            RowStride = lhs.Depth,
            Rows = (int)lhs.Rows,
            Scales = TensorMemory.Address(scales),
            ScaleRowStride = scales.shape[1] == 1 ? 0 : scales.shape[2],
            ScalePerTile = lhs.Tile != lhs.Depth,
            ScalesInBFloat16 = ScalesInBFloat16(lhs, rhs),
            ZeroPoints = zeroPoints is null ? 0 : TensorMemory.Address(zeroPoints),
            ZeroPointStride = zeroPoints is null || zeroPoints.shape[1] == 1 ? 0 : 1,
        };
        MatMul.Quantized(input, PackedForm.Get(rhs), Output(y, rhs), get_num_threads());
        return y.MoveToOuterDisposeScope();
    }

    private static ProductOutput Output(Tensor y, ProductOperand rhs) =>
        new(TensorMemory.Address(y), rhs.Rows, Format: TensorMemory.FormatOf(y.dtype)!.Value);
}
