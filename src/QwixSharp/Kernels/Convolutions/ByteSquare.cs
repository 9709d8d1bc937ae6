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
        if (!Sse2.IsSupported)
        {
            Place(from, step, Size, Size, targets, offset, mask);
            return;
        }
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
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Place(byte* from, nint step, int rows, int columns, byte** targets, nint offset, byte mask)
    {
        for (var column = 0; column < columns; column++)
        {
            var target = targets[column] + offset;
            for (var row = 0; row < rows; row++)
                target[row] = (byte)(from[row * step + column] ^ mask);
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
