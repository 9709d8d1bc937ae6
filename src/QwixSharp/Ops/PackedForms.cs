using QwixSharp.Arrays;
using QwixSharp.Kernels.Weights;
using QwixSharp.Numerics;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>
/// The form of a quantized matrix that the kernels read, made once for each array and freed with it.
/// </summary>
internal static class PackedForms
{
    /// <summary>Whether kernels can serve an array as the right side of a product.</summary>
    internal static bool CanServe(QArray array) =>
        array.Rank > 0 && array.Device.type == DeviceType.CPU && array.Dtype == ScalarType.Float32 && array.ZeroPoint is null && array.QType.Bits <= 8;

    /// <summary>The packed form of an operand [rows, depth] whose axes are in order.</summary>
    /// <param name="operand">The operand; one batch.</param>
    internal static PackedWeight Get(ProductOperand operand) => operand.Quantized!.KernelForm(_ => Pack(operand));

    private static unsafe PackedWeight Pack(ProductOperand operand)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var array = operand.Quantized!;
        int threads = get_num_threads();
        var grid = operand.Scales(operand.Tile);
        var scales = grid.expand(1, operand.Rows, grid.shape[2]).contiguous();
        float* scalePointer = (float*)TensorMemory.Address(scales);
        bool pairs = array.QType.StorageBits == 4 && operand.Depth % 2 == 0 && array.Shape[^1] % 2 == 0;
        var codes = (pairs ? array.Codes : array.GetQValue()).contiguous();
        void* code = (void*)TensorMemory.Address(codes);
        return array.QType switch
        {
            { Kind: QTypeKind.Integer } when pairs => PackedWeight.FromInt4Pairs((byte*)code, scalePointer, operand.Rows, operand.Depth, operand.Tile, threads),
            { Kind: QTypeKind.Integer } => PackedWeight.FromIntegers((sbyte*)code, scalePointer, operand.Rows, operand.Depth, operand.Tile, array.QType.Bits == 1 ? 2 : array.QType.Bits, threads),
            { Bits: 4 } => PackedWeight.FromCodebook((byte*)code, pairs, Codec.DecodeTable(array.QType), scalePointer, operand.Rows, operand.Depth, operand.Tile, threads),
            _ => PackedWeight.FromTable((byte*)code, Codec.DecodeTable(array.QType), scalePointer, operand.Rows, operand.Depth, operand.Tile, threads),
        };
    }
}
