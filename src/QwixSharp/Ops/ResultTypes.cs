using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>The dtype of a product, which depends on what its operands are when dequantized.</summary>
internal static class ResultTypes
{
    /// <summary>The dtype of a product whose caller prefers none: the promoted dtype of the operands, int32 of integers alone.</summary>
    internal static ScalarType Of(params ReadOnlySpan<Operand> operands)
    {
        ScalarType? result = null;
        foreach (var operand in operands)
        {
            if (operand.IsIntegerTensor)
                continue;
            if (!Codec.IsQuantizable(operand.Dtype))
                throw new ArgumentException($"An operand of a product cannot be {operand.Dtype}: only float16, bfloat16, float32, float64, int8, int16, uint8 and bool can. Convert it first.");
            result = result is { } other ? Promote(other, operand.Dtype) : operand.Dtype;
        }

        return result ?? ScalarType.Int32;
    }

    /// <summary>The smallest floating-point dtype that holds both.</summary>
    internal static ScalarType Promote(ScalarType a, ScalarType b) =>
        a == b ? a : a == ScalarType.Float64 || b == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;

    /// <summary>The floating-point dtype to compute in when operands of one dtype give a result of another.</summary>
    internal static ScalarType ForCompute(ScalarType operands, ScalarType result) =>
        Codec.IsQuantizable(result) ? Promote(operands, result) : operands;
}
