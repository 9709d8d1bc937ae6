using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using QwixSharp.Kernels.Activations;

namespace QwixSharp.Kernels.Attention;

/// <summary>How a cache keeps a vector: a code for each value, one scale for all of them, from the largest magnitude.</summary>
internal sealed unsafe class CacheCodec
{
    private readonly CodeRange _range;
    private readonly float[]? _table;
    private readonly float[]? _bounds;
    private readonly float _tableBound;

    private CacheCodec(int bits, CodeRange range, float[]? table, float[]? bounds, float tableBound)
    {
        Bits = bits;
        _range = range;
        _table = table;
        _bounds = bounds;
        _tableBound = tableBound;
    }

    /// <summary>The bits of a stored code: 4 or 8.</summary>
    public int Bits { get; }

    /// <summary>Whether a stored code is a signed byte and the number that it stands for.</summary>
    public bool KeepsBytes => Bits == 8 && _table is null;

    /// <summary>Signed integers, of which those of 4 bits lie two to a byte, the low half first.</summary>
    /// <param name="bits">4 or 8.</param>
    public static CacheCodec Integers(int bits) => new(bits, CodeRange.OfBits(bits), null, null, 0);

    /// <summary>Byte codes of floats: sign bit on top, and below it codes that grow with the magnitude.</summary>
    /// <param name="table">The 256 numbers.</param>
    /// <param name="bounds">The largest magnitude of each code but the last.</param>
    /// <param name="largest">The number that the largest magnitude of a vector is scaled to.</param>
    public static CacheCodec Floats(float[] table, float[] bounds, float largest) => new(8, default, table, bounds, largest);

    /// <summary>Quantizes a vector; the rounding is that of quantized arrays.</summary>
    /// <param name="x">The values.</param>
    /// <param name="count">How many.</param>
    /// <param name="codes">A byte for each value, not packed yet.</param>
    /// <returns>The scale.</returns>
    public float Quantize(float* x, int count, byte* codes)
    {
        var absMax = RowQuantizer.AbsMax(x, count);
        if (_table is null)
        {
            var step = RowQuantizer.Scale(absMax, _range);
            RowQuantizer.Quantize(x, count, step, 0, _range, (sbyte*)codes);
            return step;
        }
        var scale = RowQuantizer.Scale(absMax, _tableBound);
        for (var i = 0; i < count; i++)
        {
            var scaled = x[i] / scale;
            var place = Array.BinarySearch(_bounds!, MathF.Abs(scaled));
            codes[i] = (byte)((place < 0 ? ~place : place) | (float.IsNegative(scaled) ? 128 : 0));
        }
        return scale;
    }

    /// <summary>The bytes that a number of codes takes; an even number where codes are half bytes.</summary>
    /// <param name="codes">How many codes.</param>
    public long Bytes(long codes) => codes * Bits / 8;

    /// <summary>Stores one code among others.</summary>
    /// <param name="stored">Where the codes begin.</param>
    /// <param name="index">Which one.</param>
    /// <param name="code">The code.</param>
    public void Store(byte* stored, long index, byte code)
    {
        if (Bits == 8)
        {
            stored[index] = code;
            return;
        }
        var shift = (int)(index & 1) * 4;
        ref var both = ref stored[index >> 1];
        both = (byte)((both & (0xF0 >> shift)) | (code & 15) << shift);
    }

    /// <summary>One code as <see cref="Quantize"/> gave it.</summary>
    /// <param name="stored">Where the codes begin.</param>
    /// <param name="index">Which one.</param>
    public byte Load(byte* stored, long index)
    {
        if (Bits == 8)
            return stored[index];
        var half = stored[index >> 1] >> (int)(index & 1) * 4 & 15;
        return (byte)((half ^ 8) - 8);
    }

    /// <summary>The numbers that stored codes stand for, before their scale.</summary>
    /// <param name="stored">The codes, from a whole byte on.</param>
    /// <param name="count">How many.</param>
    /// <param name="y">The result.</param>
    public void Decode(byte* stored, int count, float* y)
    {
        if (_table is not null)
        {
            fixed (float* table = _table)
                for (var i = 0; i < count; i++)
                    y[i] = table[stored[i]];
            return;
        }
        if (Bits == 8)
            DecodeBytes((sbyte*)stored, count, y);
        else
            DecodeHalfBytes(stored, count, y);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void DecodeBytes(sbyte* stored, int count, float* y)
    {
        var i = 0;
        if (Avx2.IsSupported)
            for (; i + 8 <= count; i += 8)
                Avx.ConvertToVector256Single(Avx2.ConvertToVector256Int32(stored + i)).Store(y + i);
        for (; i < count; i++)
            y[i] = stored[i];
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void DecodeHalfBytes(byte* stored, int count, float* y)
    {
        var i = 0;
        if (Avx2.IsSupported)
        {
            var mask = Vector128.Create((byte)15);
            var sign = Vector128.Create((byte)8);
            for (; i + 16 <= count; i += 16)
            {
                var both = Vector128.CreateScalarUnsafe(*(ulong*)(stored + i / 2)).AsByte();
                var codes = Sse2.UnpackLow(both & mask, (both.AsUInt16() >>> 4).AsByte() & mask);
                var signed = ((codes ^ sign) - sign).AsSByte();
                Avx.ConvertToVector256Single(Avx2.ConvertToVector256Int32(signed)).Store(y + i);
                Avx.ConvertToVector256Single(Avx2.ConvertToVector256Int32(Sse2.ShiftRightLogical128BitLane(signed, 8))).Store(y + i + 8);
            }
        }
        for (; i < count; i++)
            y[i] = ((stored[i / 2] >> (i & 1) * 4 & 15) ^ 8) - 8;
    }
}
