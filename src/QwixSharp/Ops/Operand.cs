using QwixSharp.Arrays;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>One operand of a product: a tensor or a quantized array. Both convert to it.</summary>
/// <remarks>
/// It owns nothing. A tensor is floating-point, or holds int8, int16, uint8 or bool, which then count as codes whose
/// scale is 1.
/// </remarks>
public readonly struct Operand
{
    private readonly object? _value;

    private Operand(object value)
    {
        ArgumentNullException.ThrowIfNull(value);
        _value = value;
    }

    /// <summary>The tensor, or null where the operand is quantized.</summary>
    public Tensor? Tensor => _value as Tensor;

    /// <summary>The quantized array, or null where the operand is a tensor.</summary>
    public QArray? QArray => _value as QArray;

    /// <summary>The shape.</summary>
    public long[] Shape => Tensor?.shape ?? QArray?.Shape.ToArray() ?? throw Missing();

    /// <summary>The number of axes.</summary>
    public int Rank => QArray?.Rank ?? (int)(Tensor ?? throw Missing()).dim();

    /// <summary>The dtype of the tensor, or of the array when dequantized.</summary>
    public ScalarType Dtype => Tensor?.dtype ?? QArray?.Dtype ?? throw Missing();

    /// <summary>An operand that is a tensor.</summary>
    /// <param name="tensor">The tensor.</param>
    public static implicit operator Operand(Tensor tensor) => new(tensor);

    /// <summary>An operand that is quantized.</summary>
    /// <param name="array">The array.</param>
    public static implicit operator Operand(QArray array) => new(array);

    /// <summary>The numbers: a new alias of the tensor, or the dequantized array.</summary>
    internal Tensor Dequantize() => QArray?.Dequantize() ?? Tensor?.alias() ?? throw Missing();

    /// <summary>Whether the operand is a tensor of integers that serve as codes.</summary>
    internal bool IsIntegerTensor => Tensor?.dtype is ScalarType.Int8 or ScalarType.Int16 or ScalarType.Byte or ScalarType.Bool;

    /// <summary>The operand with a tensor of integers made an array of codes with scale 1.</summary>
    internal Operand WithIntegersAsCodes(ScalarType scaleDtype)
    {
        if (!IsIntegerTensor)
            return this;
        bool wide = Tensor!.dtype is ScalarType.Int16 or ScalarType.Byte;
        var scale = ones([.. Tensor.shape.Select(_ => 1L)], scaleDtype, Tensor.device);
        return new QArray(wide ? QType.Int16 : QType.Int8, Tensor.shape, Tensor.to(wide ? ScalarType.Int16 : ScalarType.Int8, copy: true), scale);
    }

    private static ArgumentException Missing() => new("An operand is missing: give a tensor or a QArray.");
}
