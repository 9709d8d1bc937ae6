using QwixSharp.Kernels.Passes;
using QwixSharp.Numerics;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Arrays;

/// <summary>
/// Dequantizes in one pass over memory where an array's scales follow its memory, on the CPU into float32. The result is
/// the same, bit for bit, as that of the general way.
/// </summary>
internal static class RowDequantization
{
    /// <summary>Dequantizes an array where this is possible.</summary>
    /// <returns>A tensor of the caller's, or null.</returns>
    internal static unsafe Tensor? TryDequantize(QArray array)
    {
        if (array.Dtype != ScalarType.Float32 || array.Device.type != DeviceType.CPU || array.ZeroPoint is not null || array.QType.Bits > 8)
            return null;
        if (array.Rank == 0 || RowLayout.Of(array.Shape, array.ScaleShape) is not { Rows: > 0, Columns: > 0 } rows)
            return null;
        using var lent = array.LendScale();
        if (lent.requires_grad)
            return null;
        using var scope = NewDisposeScope();
        var codes = array.GetQValue().contiguous();
        var scale = lent.contiguous();
        var result = empty(array.Shape, dtype: ScalarType.Float32);
        var values = (float*)TensorMemory.Address(result);
        var scales = (float*)TensorMemory.Address(scale);
        if (array.QType.Kind == QTypeKind.Integer)
        {
            DequantizePass.Integers((sbyte*)TensorMemory.Address(codes), rows, scales, null, values, get_num_threads());
        }
        else
        {
            fixed (float* table = Codec.DecodeTable(array.QType))
                DequantizePass.Table((byte*)TensorMemory.Address(codes), rows, table, scales, values, get_num_threads());
        }

        return result.MoveToOuterDisposeScope();
    }
}
