using System.Runtime.CompilerServices;

namespace QwixSharp.Kernels.Weights;

/// <summary>
/// Scales in 16 bits, for those that lose nothing by it: of a weight whose scales were rounded to float16 or bfloat16 before its
/// codes were computed, or of a file whose blocks have such scales. At tiles of 32 four-bit codes they save a tenth of the memory.
/// </summary>
internal static unsafe class NarrowScales
{
    private const int Chunk = 256;

    /// <summary>The bytes of a scale.</summary>
    /// <param name="format">How it is stored.</param>
    public static int ElementSize(FloatFormat format) => format == FloatFormat.Float32 ? sizeof(float) : sizeof(ushort);

    /// <summary>The smallest format that holds every scale exactly, float16 before bfloat16.</summary>
    /// <param name="scales">The scales.</param>
    /// <param name="count">How many.</param>
    public static FloatFormat FormatOf(float* scales, long count) =>
        Holds(FloatFormat.Float16, scales, count) ? FloatFormat.Float16
        : Holds(FloatFormat.BFloat16, scales, count) ? FloatFormat.BFloat16
        : FloatFormat.Float32;

    /// <summary>Reads a scale.</summary>
    /// <param name="stored">Scales in a format.</param>
    /// <param name="format">The format.</param>
    /// <param name="index">Which.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float At(byte* stored, FloatFormat format, long index) => format switch
    {
        FloatFormat.Float32 => ((float*)stored)[index],
        FloatFormat.Float16 => (float)BitConverter.UInt16BitsToHalf(((ushort*)stored)[index]),
        _ => BitConverter.UInt32BitsToSingle((uint)((ushort*)stored)[index] << 16),
    };

    /// <summary>Writes a scale that the format holds.</summary>
    /// <param name="stored">Scales in a format.</param>
    /// <param name="format">The format.</param>
    /// <param name="index">Which.</param>
    /// <param name="scale">The scale.</param>
    public static void Set(byte* stored, FloatFormat format, long index, float scale)
    {
        if (format == FloatFormat.Float32)
            ((float*)stored)[index] = scale;
        else
            ((ushort*)stored)[index] = format == FloatFormat.Float16 ? BitConverter.HalfToUInt16Bits((Half)scale) : (ushort)(BitConverter.SingleToUInt32Bits(scale) >> 16);
    }

    private static bool Holds(FloatFormat format, float* scales, long count)
    {
        var padded = stackalloc float[Chunk];
        var narrow = stackalloc ushort[Chunk];
        var widened = stackalloc float[Chunk];
        for (var start = 0L; start < count; start += Chunk)
        {
            var some = (int)Math.Min(Chunk, count - start);
            var given = new ReadOnlySpan<uint>(scales + start, some);
            new Span<uint>(padded, Chunk).Clear();
            given.CopyTo(new Span<uint>(padded, Chunk));
            FloatConversion.Narrow(padded, format, Chunk, narrow);
            FloatConversion.Widen(narrow, format, Chunk, widened);
            if (!given.SequenceEqual(new ReadOnlySpan<uint>(widened, some)))
                return false;
        }
        return true;
    }
}
