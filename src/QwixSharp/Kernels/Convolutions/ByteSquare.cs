using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>
/// Squares of codes, between channels first and channels last. On the way all codes are combined with a mask:
/// <see cref="Sign"/> adds 128 to signed codes or takes it off again.
/// </summary>
internal static unsafe class ByteSquare
{
    /// <summary>Rows and columns of a square.</summary>
    public const int Size = 16;

    /// <summary>The sign of a code.</summary>
    public const byte Sign = 0x80;

    /// <summary>Of byte j of word i of a register: row j, column i.</summary>
    private static ReadOnlySpan<byte> WordOrder =>
    [
        0, 16, 32, 48, 1, 17, 33, 49, 2, 18, 34, 50, 3, 19, 35, 51, 4, 20, 36, 52, 5, 21, 37, 53, 6, 22, 38, 54, 7, 23, 39, 55,
        8, 24, 40, 56, 9, 25, 41, 57, 10, 26, 42, 58, 11, 27, 43, 59, 12, 28, 44, 60, 13, 29, 45, 61, 14, 30, 46, 62, 15, 31, 47, 63,
    ];

    /// <summary>Combines a row with the mask.</summary>
    /// <param name="from">The codes.</param>
    /// <param name="to">The result; may be the codes themselves.</param>
    /// <param name="count">How many.</param>
    /// <param name="mask">The mask.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Copy(byte* from, byte* to, int count, byte mask)
    {
        var i = 0;
        var masks = Vector256.Create(mask);
        for (; i + 32 <= count; i += 32)
            (Vector256.Load(from + i) ^ masks).Store(to + i);
        for (; i < count; i++)
            to[i] = (byte)(from[i] ^ mask);
    }

    /// <summary>Transposes a square.</summary>
    /// <param name="from">[16 rows] of 16 codes.</param>
    /// <param name="step">From one row to the next.</param>
    /// <param name="targets">[16] where the columns go.</param>
    /// <param name="offset">The distance from there.</param>
    /// <param name="mask">The mask.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Transpose(byte* from, nint step, byte** targets, nint offset, byte mask)
    {
        if (Avx512Vbmi.IsSupported)
            TransposeWide(from, step, targets, offset, mask);
        else if (Sse2.IsSupported)
            TransposeNarrow(from, step, targets, offset, mask);
        else
            for (var column = 0; column < Size; column++)
                for (var row = 0; row < Size; row++)
                    targets[column][offset + row] = (byte)(from[row * step + column] ^ mask);
    }

    /// <summary>Four rows a register: its bytes become words of four rows, and words of four registers meet in a column.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void TransposeWide(byte* from, nint step, byte** targets, nint offset, byte mask)
    {
        var order = Vector512.Create(WordOrder);
        var masks = Vector512.Create(mask);
        var a = Avx512Vbmi.PermuteVar64x8(FourRows(from, step), order) ^ masks;
        var b = Avx512Vbmi.PermuteVar64x8(FourRows(from + 4 * step, step), order) ^ masks;
        var c = Avx512Vbmi.PermuteVar64x8(FourRows(from + 8 * step, step), order) ^ masks;
        var d = Avx512Vbmi.PermuteVar64x8(FourRows(from + 12 * step, step), order) ^ masks;
        var ab = Avx512F.UnpackLow(a.AsUInt32(), b.AsUInt32()).AsUInt64();
        var cd = Avx512F.UnpackLow(c.AsUInt32(), d.AsUInt32()).AsUInt64();
        var ab2 = Avx512F.UnpackHigh(a.AsUInt32(), b.AsUInt32()).AsUInt64();
        var cd2 = Avx512F.UnpackHigh(c.AsUInt32(), d.AsUInt32()).AsUInt64();
        StoreColumns(Avx512F.UnpackLow(ab, cd).AsByte(), targets, offset);
        StoreColumns(Avx512F.UnpackHigh(ab, cd).AsByte(), targets + 1, offset);
        StoreColumns(Avx512F.UnpackLow(ab2, cd2).AsByte(), targets + 2, offset);
        StoreColumns(Avx512F.UnpackHigh(ab2, cd2).AsByte(), targets + 3, offset);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<byte> FourRows(byte* from, nint step) => Vector512.Create(
        Vector256.Create(Vector128.Load(from), Vector128.Load(from + step)),
        Vector256.Create(Vector128.Load(from + 2 * step), Vector128.Load(from + 3 * step)));

    /// <summary>Every fourth column.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreColumns(Vector512<byte> columns, byte** targets, nint offset)
    {
        columns.GetLower().GetLower().Store(targets[0] + offset);
        columns.GetLower().GetUpper().Store(targets[4] + offset);
        Avx512F.ExtractVector128(columns, 2).Store(targets[8] + offset);
        Avx512F.ExtractVector128(columns, 3).Store(targets[12] + offset);
    }

    private static void TransposeNarrow(byte* from, nint step, byte** targets, nint offset, byte mask)
    {
        var rows = stackalloc Vector128<byte>[Size];
        for (var i = 0; i < Size / 2; i++)
        {
            // The first of four steps, each of which brings what lies half a square apart side by side.
            var (top, bottom) = (Vector128.Load(from + i * step), Vector128.Load(from + (i + Size / 2) * step));
            rows[2 * i] = Sse2.UnpackLow(top, bottom);
            rows[2 * i + 1] = Sse2.UnpackHigh(top, bottom);
        }
        var shuffled = stackalloc Vector128<byte>[Size];
        Shuffle(rows, shuffled);
        Shuffle(shuffled, rows);
        var masks = Vector128.Create(mask);
        for (var i = 0; i < Size / 2; i++)
        {
            (Sse2.UnpackLow(rows[i], rows[i + Size / 2]) ^ masks).Store(targets[2 * i] + offset);
            (Sse2.UnpackHigh(rows[i], rows[i + Size / 2]) ^ masks).Store(targets[2 * i + 1] + offset);
        }
    }

    /// <summary><see cref="Transpose"/> of a part of a square.</summary>
    /// <param name="from">Rows of codes.</param>
    /// <param name="step">From one row to the next.</param>
    /// <param name="rows">How many rows.</param>
    /// <param name="columns">How many codes of a row.</param>
    /// <param name="targets">[columns] where the columns go.</param>
    /// <param name="offset">The distance from there.</param>
    /// <param name="mask">The mask.</param>
    [SkipLocalsInit]
    public static void Place(byte* from, nint step, int rows, int columns, byte** targets, nint offset, byte mask)
    {
        var square = stackalloc byte[2 * Size * Size];
        var transposed = stackalloc byte*[Size];
        for (var i = 0; i < Size; i++)
            transposed[i] = square + (Size + i) * Size;
        for (var row = 0; row < rows; row++)
            CopyPart(from + row * step, square + row * Size, columns);
        Transpose(square, Size, transposed, 0, mask);
        for (var column = 0; column < columns; column++)
            CopyPart(transposed[column], targets[column] + offset, rows);
    }

    /// <summary><see cref="Transpose"/> of no more than four rows.</summary>
    /// <param name="from">Rows of 16 codes.</param>
    /// <param name="step">From one row to the next.</param>
    /// <param name="rows">How many rows: 1 … 4.</param>
    /// <param name="targets">[16] where the columns go.</param>
    /// <param name="offset">The distance from there.</param>
    /// <param name="mask">The mask.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    [SkipLocalsInit]
    public static void PlaceFew(byte* from, nint step, int rows, byte** targets, nint offset, byte mask)
    {
        var words = stackalloc uint[Size];
        var masks = Vector512.Create((uint)mask * 0x01010101);
        var word = Vector512<uint>.Zero;
        for (var row = 0; row < rows; row++)
            word |= Widen(Vector128.Load(from + row * step)) << (8 * row);
        (word ^ masks).Store(words);
        for (var column = 0; column < Size; column++)
        {
            var target = targets[column] + offset;
            if (rows == 4)
            {
                Unsafe.WriteUnaligned(target, words[column]);
                continue;
            }
            if (rows > 1)
                Unsafe.WriteUnaligned(target, (ushort)words[column]);
            if (rows != 2)
                target[rows - 1] = (byte)(words[column] >> (8 * (rows - 1)));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> Widen(Vector128<byte> bytes)
    {
        if (Avx512F.IsSupported)
            return Avx512F.ConvertToVector512UInt32(bytes);
        var (low, high) = Vector128.Widen(bytes);
        var ((first, second), (third, fourth)) = (Vector128.Widen(low), Vector128.Widen(high));
        return Vector512.Create(Vector256.Create(first, second), Vector256.Create(third, fourth));
    }

    /// <summary>Up to 16 bytes, as two words that overlap.</summary>
    /// <param name="from">The bytes.</param>
    /// <param name="to">The result.</param>
    /// <param name="count">How many.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void CopyPart(byte* from, byte* to, int count)
    {
        switch (count)
        {
            case >= sizeof(ulong):
                var last = Unsafe.ReadUnaligned<ulong>(from + count - sizeof(ulong));
                Unsafe.WriteUnaligned(to, Unsafe.ReadUnaligned<ulong>(from));
                Unsafe.WriteUnaligned(to + count - sizeof(ulong), last);
                break;
            case >= sizeof(uint):
                var end = Unsafe.ReadUnaligned<uint>(from + count - sizeof(uint));
                Unsafe.WriteUnaligned(to, Unsafe.ReadUnaligned<uint>(from));
                Unsafe.WriteUnaligned(to + count - sizeof(uint), end);
                break;
            default:
                for (var i = 0; i < count; i++)
                    to[i] = from[i];
                break;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Shuffle(Vector128<byte>* from, Vector128<byte>* to)
    {
        for (var i = 0; i < Size / 2; i++)
        {
            to[2 * i] = Sse2.UnpackLow(from[i], from[i + Size / 2]);
            to[2 * i + 1] = Sse2.UnpackHigh(from[i], from[i + Size / 2]);
        }
    }
}
