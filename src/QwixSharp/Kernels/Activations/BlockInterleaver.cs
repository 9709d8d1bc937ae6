using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace QwixSharp.Kernels.Activations;

/// <summary>Brings rows of codes into the layout of a block: groups of four values of K, row beside row.</summary>
internal static unsafe class BlockInterleaver
{
    /// <summary>All rows of so many groups are placed before the next: a line of the block is then written while it is in the cache.</summary>
    private const long GroupsAtOnce = 64;

    /// <summary>[K/4][rows][4] bytes.</summary>
    /// <param name="codes">The rows.</param>
    /// <param name="rows">How many.</param>
    /// <param name="groups">K / 4.</param>
    /// <param name="block">The result.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Bytes(sbyte** codes, int rows, long groups, int* block)
    {
        if (rows == 1)
        {
            Buffer.MemoryCopy(codes[0], block, groups * 4, groups * 4);
            return;
        }
        for (var from = 0L; from < groups; from += GroupsAtOnce)
            Part(codes, rows, from, Math.Min(groups, from + GroupsAtOnce), block);
    }

    /// <summary>[K][rows] float32.</summary>
    /// <param name="values">The rows.</param>
    /// <param name="rows">How many.</param>
    /// <param name="depth">K.</param>
    /// <param name="block">The result.</param>
    public static void Floats(float** values, int rows, long depth, float* block) => Bytes((sbyte**)values, rows, depth, (int*)block);

    /// <summary>[K/4][rows][4] 16-bit words in the order k, k+2, k+1, k+3.</summary>
    /// <param name="codes">The rows.</param>
    /// <param name="rows">How many.</param>
    /// <param name="groups">K / 4.</param>
    /// <param name="block">The result.</param>
    public static void Words(sbyte** codes, int rows, long groups, short* block)
    {
        for (var row = 0; row < rows; row++)
        {
            var from = codes[row];
            var to = block + row * 4;
            for (var group = 0L; group < groups; group++, from += 4, to += rows * 4)
            {
                to[0] = from[0];
                to[1] = from[2];
                to[2] = from[1];
                to[3] = from[3];
            }
        }
    }

    private static void Part(sbyte** codes, int rows, long from, long to, int* block)
    {
        var row = 0;
        if (Sse2.IsSupported)
            for (; row + 4 <= rows; row += 4)
                FourRows(codes + row, rows, from, to, block + row);
        for (; row < rows; row++)
            for (var group = from; group < to; group++)
                block[group * rows + row] = ((int*)codes[row])[group];
    }

    /// <summary>Four rows at a time, as transposes of four by four 32-bit words.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FourRows(sbyte** codes, int rows, long from, long to, int* block)
    {
        var p0 = (int*)codes[0];
        var p1 = (int*)codes[1];
        var p2 = (int*)codes[2];
        var p3 = (int*)codes[3];
        var group = from;
        block += from * rows;
        for (; group + 4 <= to; group += 4, block += 4 * rows)
        {
            var a = Sse2.UnpackLow(Vector128.Load(p0 + group), Vector128.Load(p1 + group)).AsInt64();
            var b = Sse2.UnpackLow(Vector128.Load(p2 + group), Vector128.Load(p3 + group)).AsInt64();
            var c = Sse2.UnpackHigh(Vector128.Load(p0 + group), Vector128.Load(p1 + group)).AsInt64();
            var d = Sse2.UnpackHigh(Vector128.Load(p2 + group), Vector128.Load(p3 + group)).AsInt64();
            Sse2.UnpackLow(a, b).AsInt32().Store(block);
            Sse2.UnpackHigh(a, b).AsInt32().Store(block + rows);
            Sse2.UnpackLow(c, d).AsInt32().Store(block + 2 * rows);
            Sse2.UnpackHigh(c, d).AsInt32().Store(block + 3 * rows);
        }
        for (; group < to; group++, block += rows)
            Vector128.Create(p0[group], p1[group], p2[group], p3[group]).Store(block);
    }
}
