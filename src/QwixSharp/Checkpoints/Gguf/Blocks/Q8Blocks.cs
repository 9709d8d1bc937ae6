using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using static QwixSharp.Checkpoints.Gguf.Blocks.BlockMath;

namespace QwixSharp.Checkpoints.Gguf.Blocks;

/// <summary>Q8_0: a float16 scale and 32 signed bytes.</summary>
internal static class Q8Blocks
{
    /// <summary>The bytes of a block.</summary>
    internal const int Size = 2 + Length;

    internal static void Decode(ReadOnlySpan<byte> blocks, Span<float> values)
    {
        for (; blocks.Length >= Size; blocks = blocks[Size..], values = values[Length..])
        {
            float scale = ReadHalf(blocks);
            ref byte codes = ref MemoryMarshal.GetReference(blocks[2..Size]);
            ref float x = ref MemoryMarshal.GetReference(values[..Length]);
            StoreScaled(Vector128.LoadUnsafe(ref codes).AsSByte(), scale, ref x);
            StoreScaled(Vector128.LoadUnsafe(ref codes, HalfLength).AsSByte(), scale, ref Unsafe.Add(ref x, HalfLength));
        }
    }

    /// <summary>Scale = absmax ÷ 127; codes round half away from zero.</summary>
    internal static void Encode(ReadOnlySpan<float> values, Span<byte> blocks)
    {
        for (; values.Length >= Length; values = values[Length..], blocks = blocks[Size..])
        {
            var (min, max) = Range(values);
            float scale = float.Max(max, -min) / 127;
            WriteHalf(blocks, scale);
            var inverse = Vector256.Create(Reciprocal(scale));
            ref float x = ref MemoryMarshal.GetReference(values[..Length]);
            ref byte codes = ref MemoryMarshal.GetReference(blocks[2..Size]);
            for (nuint i = 0; i < Length; i += HalfLength)
                ToBytes(Round(Vector256.LoadUnsafe(ref x, i) * inverse), Round(Vector256.LoadUnsafe(ref x, i + 8) * inverse)).StoreUnsafe(ref codes, i);
        }
    }

    /// <summary>Takes codes and scales out of blocks, without rounding.</summary>
    internal static void Split(ReadOnlySpan<byte> blocks, Span<byte> codes, Span<float> scales)
    {
        for (int i = 0; blocks.Length >= Size; i++, blocks = blocks[Size..], codes = codes[Length..])
        {
            scales[i] = ReadHalf(blocks);
            blocks[2..Size].CopyTo(codes);
        }
    }

    /// <summary>Makes blocks of codes and scales; scales are rounded to float16.</summary>
    internal static void Join(ReadOnlySpan<byte> codes, ReadOnlySpan<float> scales, Span<byte> blocks)
    {
        for (int i = 0; i < scales.Length; i++, blocks = blocks[Size..], codes = codes[Length..])
        {
            WriteHalf(blocks, scales[i]);
            codes[..Length].CopyTo(blocks[2..]);
        }
    }

    private static Vector256<float> Round(Vector256<float> x)
    {
        var magnitude = Vector256.Abs(x);
        var floor = Vector256.Floor(magnitude);
        var rounded = floor + Vector256.Floor((magnitude - floor) * 2);
        return Vector256.ConditionalSelect(Vector256.LessThan(x, Vector256<float>.Zero), -rounded, rounded);
    }
}
