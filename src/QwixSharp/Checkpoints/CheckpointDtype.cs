using static TorchSharp.torch;

namespace QwixSharp.Checkpoints;

/// <summary>The dtype in which a checkpoint stores a tensor.</summary>
public enum CheckpointDtype
{
    /// <summary>64-bit float.</summary>
    Float64,

    /// <summary>32-bit float.</summary>
    Float32,

    /// <summary>16-bit float.</summary>
    Float16,

    /// <summary>The upper half of a 32-bit float.</summary>
    BFloat16,

    /// <summary>8-bit float with 4 exponent and 3 mantissa bits, without infinities (e4m3fn).</summary>
    Float8E4M3Fn,

    /// <summary>8-bit float with 5 exponent and 2 mantissa bits.</summary>
    Float8E5M2,

    /// <summary>A power of two from 2⁻¹²⁷ to 2¹²⁷: the scale of micro-scaled types.</summary>
    Float8E8M0,

    /// <summary>6-bit float with 2 exponent and 3 mantissa bits, four to three bytes.</summary>
    Float6E2M3,

    /// <summary>6-bit float with 3 exponent and 2 mantissa bits, four to three bytes.</summary>
    Float6E3M2,

    /// <summary>4-bit float with 2 exponent bits and 1 mantissa bit, two to a byte.</summary>
    Float4E2M1,

    /// <summary>64-bit integer.</summary>
    Int64,

    /// <summary>32-bit integer.</summary>
    Int32,

    /// <summary>16-bit integer.</summary>
    Int16,

    /// <summary>8-bit integer.</summary>
    Int8,

    /// <summary>64-bit unsigned integer.</summary>
    UInt64,

    /// <summary>32-bit unsigned integer.</summary>
    UInt32,

    /// <summary>16-bit unsigned integer.</summary>
    UInt16,

    /// <summary>8-bit unsigned integer.</summary>
    UInt8,

    /// <summary>A byte that is 0 or 1.</summary>
    Bool,

    /// <summary>Two 32-bit floats, real and imaginary.</summary>
    Complex64,

    /// <summary>A block type of one format's own, which <see cref="TensorEntry.TypeName"/> names, such as GGUF's <c>Q4_0</c>.</summary>
    Other,
}

/// <summary>What is known of each dtype.</summary>
internal static class CheckpointDtypes
{
    /// <summary>The bits of one element.</summary>
    internal static int Bits(this CheckpointDtype dtype) => dtype switch
    {
        CheckpointDtype.Float64 or CheckpointDtype.Int64 or CheckpointDtype.UInt64 or CheckpointDtype.Complex64 => 64,
        CheckpointDtype.Float32 or CheckpointDtype.Int32 or CheckpointDtype.UInt32 => 32,
        CheckpointDtype.Float16 or CheckpointDtype.BFloat16 or CheckpointDtype.Int16 or CheckpointDtype.UInt16 => 16,
        CheckpointDtype.Float6E2M3 or CheckpointDtype.Float6E3M2 => 6,
        CheckpointDtype.Float4E2M1 => 4,
        CheckpointDtype.Other => throw new ArgumentException("A format's own block type has no bits an element."),
        _ => 8,
    };

    /// <summary>
    /// The TorchSharp dtype that holds the same bits: where TorchSharp has no such type, small floats are uint8 and unsigned
    /// integers the signed ones of their width.
    /// </summary>
    internal static ScalarType Carrier(this CheckpointDtype dtype) => dtype switch
    {
        CheckpointDtype.Float64 => ScalarType.Float64,
        CheckpointDtype.Float32 => ScalarType.Float32,
        CheckpointDtype.Float16 => ScalarType.Float16,
        CheckpointDtype.BFloat16 => ScalarType.BFloat16,
        CheckpointDtype.Int64 or CheckpointDtype.UInt64 => ScalarType.Int64,
        CheckpointDtype.Int32 or CheckpointDtype.UInt32 => ScalarType.Int32,
        CheckpointDtype.Int16 or CheckpointDtype.UInt16 => ScalarType.Int16,
        CheckpointDtype.Int8 => ScalarType.Int8,
        CheckpointDtype.Bool => ScalarType.Bool,
        CheckpointDtype.Complex64 => ScalarType.ComplexFloat32,
        _ => ScalarType.Byte,
    };

    /// <summary>The dtype in which a tensor is stored unless told.</summary>
    /// <exception cref="CheckpointException">Checkpoints have no such dtype.</exception>
    internal static CheckpointDtype Of(ScalarType dtype) => dtype switch
    {
        ScalarType.Float64 => CheckpointDtype.Float64,
        ScalarType.Float32 => CheckpointDtype.Float32,
        ScalarType.Float16 => CheckpointDtype.Float16,
        ScalarType.BFloat16 => CheckpointDtype.BFloat16,
        ScalarType.Int64 => CheckpointDtype.Int64,
        ScalarType.Int32 => CheckpointDtype.Int32,
        ScalarType.Int16 => CheckpointDtype.Int16,
        ScalarType.Int8 => CheckpointDtype.Int8,
        ScalarType.Byte => CheckpointDtype.UInt8,
        ScalarType.Bool => CheckpointDtype.Bool,
        ScalarType.ComplexFloat32 => CheckpointDtype.Complex64,
        _ => throw new CheckpointException($"A tensor of {dtype} cannot be stored in a checkpoint. Convert it first."),
    };

    /// <summary>Whether the elements are real floating-point numbers of 16 bits and more, which can be quantized.</summary>
    internal static bool IsQuantizable(this CheckpointDtype dtype) =>
        dtype is CheckpointDtype.Float64 or CheckpointDtype.Float32 or CheckpointDtype.Float16 or CheckpointDtype.BFloat16;
}
