namespace QwixSharp.Checkpoints.Gguf;

/// <summary>The kinds of metadata values and the numbers that stand for them in a file.</summary>
internal enum GgufValueType : uint
{
    UInt8,
    Int8,
    UInt16,
    Int16,
    UInt32,
    Int32,
    Float32,
    Bool,
    String,
    Array,
    UInt64,
    Int64,
    Float64,
}

/// <summary>What is known of each kind.</summary>
internal static class GgufValueTypes
{
    /// <summary>The fewest bytes that a value takes in a file.</summary>
    internal static int MinSize(this GgufValueType type) => type switch
    {
        GgufValueType.UInt8 or GgufValueType.Int8 or GgufValueType.Bool => 1,
        GgufValueType.UInt16 or GgufValueType.Int16 => 2,
        GgufValueType.UInt32 or GgufValueType.Int32 or GgufValueType.Float32 => 4,
        GgufValueType.Array => 12,
        _ => 8,
    };

    /// <summary>The kind of a value, or of the elements of an array.</summary>
    /// <exception cref="ArgumentException">GGUF has no kind for the type.</exception>
    internal static GgufValueType Of(Type type) =>
        type == typeof(byte) ? GgufValueType.UInt8
        : type == typeof(sbyte) ? GgufValueType.Int8
        : type == typeof(ushort) ? GgufValueType.UInt16
        : type == typeof(short) ? GgufValueType.Int16
        : type == typeof(uint) ? GgufValueType.UInt32
        : type == typeof(int) ? GgufValueType.Int32
        : type == typeof(float) ? GgufValueType.Float32
        : type == typeof(bool) ? GgufValueType.Bool
        : type == typeof(string) ? GgufValueType.String
        : type == typeof(ulong) ? GgufValueType.UInt64
        : type == typeof(long) ? GgufValueType.Int64
        : type == typeof(double) ? GgufValueType.Float64
        : type == typeof(Array) || type.IsSZArray ? GgufValueType.Array
        : throw new ArgumentException($"GGUF metadata are numbers, booleans, strings and arrays of one of these, not {type}.");
}
