namespace QwixSharp.Checkpoints.Safetensors;

/// <summary>The dtypes of safetensors and their names in its header.</summary>
internal static class SafetensorsDtypes
{
    private static readonly Dictionary<CheckpointDtype, string> Names = new()
    {
        [CheckpointDtype.Float64] = "F64",
        [CheckpointDtype.Float32] = "F32",
        [CheckpointDtype.Float16] = "F16",
        [CheckpointDtype.BFloat16] = "BF16",
        [CheckpointDtype.Float8E4M3Fn] = "F8_E4M3",
        [CheckpointDtype.Float8E5M2] = "F8_E5M2",
        [CheckpointDtype.Float8E8M0] = "F8_E8M0",
        [CheckpointDtype.Float6E2M3] = "F6_E2M3",
        [CheckpointDtype.Float6E3M2] = "F6_E3M2",
        [CheckpointDtype.Float4E2M1] = "F4",
        [CheckpointDtype.Int64] = "I64",
        [CheckpointDtype.Int32] = "I32",
        [CheckpointDtype.Int16] = "I16",
        [CheckpointDtype.Int8] = "I8",
        [CheckpointDtype.UInt64] = "U64",
        [CheckpointDtype.UInt32] = "U32",
        [CheckpointDtype.UInt16] = "U16",
        [CheckpointDtype.UInt8] = "U8",
        [CheckpointDtype.Bool] = "BOOL",
        [CheckpointDtype.Complex64] = "C64",
    };

    private static readonly Dictionary<string, CheckpointDtype> ByName = Names.ToDictionary(n => n.Value, n => n.Key, StringComparer.Ordinal);

    /// <summary>The name of a dtype.</summary>
    /// <exception cref="ArgumentException">Safetensors has no such dtype.</exception>
    internal static string NameOf(CheckpointDtype dtype) =>
        Names.TryGetValue(dtype, out var name) ? name : throw new ArgumentException($"Safetensors has no dtype {dtype}.", nameof(dtype));

    /// <summary>Finds a dtype by its name; names are spelt exactly so.</summary>
    internal static bool TryParse(string name, out CheckpointDtype dtype) => ByName.TryGetValue(name, out dtype);

    /// <summary>The bytes of a tensor.</summary>
    /// <exception cref="FormatException">There cannot be such a tensor; the message says why.</exception>
    internal static long CountBytes(CheckpointDtype dtype, ReadOnlySpan<long> shape)
    {
        if (shape.Length > TensorEntry.MaxRank)
            throw new FormatException($"its shape has {shape.Length} axes, more than {TensorEntry.MaxRank}");
        long count = 1;
        bool isEmpty = false;
        foreach (long length in shape)
        {
            if (length < 0)
                throw new FormatException($"its shape has the negative length {length}");
            isEmpty |= length == 0;
            // Lengths beside a zero are counted too: libtorch multiplies them.
            count = TryMultiply(count, Math.Max(length, 1));
        }

        long bits = TryMultiply(count, dtype.Bits());
        if (isEmpty)
            return 0;
        return bits % 8 == 0 ? bits / 8 : throw new FormatException($"its {count} elements of {dtype.Bits()} bits end within a byte");
    }

    private static long TryMultiply(long a, long b)
    {
        try
        {
            return checked(a * b);
        }
        catch (OverflowException error)
        {
            throw new FormatException("its shape has more elements than can be counted", error);
        }
    }
}
