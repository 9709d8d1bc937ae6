namespace QwixSharp.LiteRT;

/// <summary>The element types of LiteRT tensors, with their numbers in the file format.</summary>
public enum LiteRtType
{
    /// <summary>32-bit floating point.</summary>
    Float32 = 0,

    /// <summary>16-bit IEEE floating point.</summary>
    Float16 = 1,

    /// <summary>32-bit signed integers.</summary>
    Int32 = 2,

    /// <summary>8-bit unsigned integers.</summary>
    UInt8 = 3,

    /// <summary>64-bit signed integers.</summary>
    Int64 = 4,

    /// <summary>Strings, in a layout of LiteRT's own.</summary>
    String = 5,

    /// <summary>Truth values, one byte each.</summary>
    Bool = 6,

    /// <summary>16-bit signed integers.</summary>
    Int16 = 7,

    /// <summary>Two 32-bit floating-point numbers.</summary>
    Complex64 = 8,

    /// <summary>8-bit signed integers.</summary>
    Int8 = 9,

    /// <summary>64-bit floating point.</summary>
    Float64 = 10,

    /// <summary>Two 64-bit floating-point numbers.</summary>
    Complex128 = 11,

    /// <summary>64-bit unsigned integers.</summary>
    UInt64 = 12,

    /// <summary>A handle to a resource.</summary>
    Resource = 13,

    /// <summary>A tensor that holds tensors.</summary>
    Variant = 14,

    /// <summary>32-bit unsigned integers.</summary>
    UInt32 = 15,

    /// <summary>16-bit unsigned integers.</summary>
    UInt16 = 16,

    /// <summary>4-bit signed integers, two a byte, the first in the low half.</summary>
    Int4 = 17,

    /// <summary>bfloat16.</summary>
    BFloat16 = 18,

    /// <summary>2-bit signed integers, four a byte.</summary>
    Int2 = 19,

    /// <summary>4-bit unsigned integers, two a byte.</summary>
    UInt4 = 20,

    /// <summary>fp8 with four bits of exponent, without infinities.</summary>
    Float8E4M3FN = 21,

    /// <summary>fp8 with five bits of exponent.</summary>
    Float8E5M2 = 22,
}

/// <summary>Sizes of element types.</summary>
internal static class LiteRtTypes
{
    /// <summary>Bits of an element; 0 where a tensor's size does not follow from its shape.</summary>
    internal static int Bits(this LiteRtType type) => type switch
    {
        LiteRtType.Int2 => 2,
        LiteRtType.Int4 or LiteRtType.UInt4 => 4,
        LiteRtType.UInt8 or LiteRtType.Bool or LiteRtType.Int8 or LiteRtType.Float8E4M3FN or LiteRtType.Float8E5M2 => 8,
        LiteRtType.Float16 or LiteRtType.Int16 or LiteRtType.UInt16 or LiteRtType.BFloat16 => 16,
        LiteRtType.Float32 or LiteRtType.Int32 or LiteRtType.UInt32 => 32,
        LiteRtType.Int64 or LiteRtType.Complex64 or LiteRtType.Float64 or LiteRtType.UInt64 => 64,
        LiteRtType.Complex128 => 128,
        _ => 0,
    };
}
