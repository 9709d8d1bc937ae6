using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using QwixSharp.Kernels.Activations;

namespace QwixSharp.Kernels.Weights;

/// <summary>Brings sixteen rows of codes, one a byte, into a panel of a <see cref="PackedWeight"/>.</summary>
internal static unsafe class PanelWriter
{
    private const int Columns = PackedWeight.PanelColumns;

    /// <summary>A panel of byte codes, [K/4][16][4].</summary>
    /// <param name="rows">Sixteen rows.</param>
    /// <param name="depth">Codes of a row, a multiple of 8.</param>
    /// <param name="panel">The result.</param>
    public static void Bytes(sbyte** rows, long depth, byte* panel) => BlockInterleaver.Bytes(rows, Columns, depth / 4, (int*)panel);

    /// <summary>A panel of half-byte codes, [K/8][16][4], of the low halves of code + offset.</summary>
    /// <param name="rows">Sixteen rows.</param>
    /// <param name="depth">Codes of a row, a multiple of 8.</param>
    /// <param name="offset">What is added to a code.</param>
    /// <param name="panel">The result.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void HalfBytes(sbyte** rows, long depth, int offset, byte* panel)
    {
        var add = Vector128.Create((sbyte)offset);
        for (var row = 0; row < Columns; row += 4)
        {
            var target = panel + row * 4;
            for (var k = 0L; k < depth; k += 8, target += 64)
                Vector128.Create(Halves(rows[row] + k, add), Halves(rows[row + 1] + k, add), Halves(rows[row + 2] + k, add), Halves(rows[row + 3] + k, add)).Store((uint*)target);
        }
    }

    /// <summary>A panel of byte codes of rows that lie as columns.</summary>
    /// <param name="columns">[depth, 16 or more]: the codes of one k side by side.</param>
    /// <param name="stride">The distance from one k to the next.</param>
    /// <param name="count">How many of the sixteen columns exist.</param>
    /// <param name="depth">How many k exist; the group of four that the last one is in is filled up with 0.</param>
    /// <param name="panel">The result, ⌈depth / 4⌉ groups.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Columnwise(sbyte* columns, long stride, int count, long depth, byte* panel)
    {
        var k = 0L;
        if (Sse2.IsSupported && count == Columns)
            for (; k + 4 <= depth; k += 4, columns += 4 * stride, panel += 64)
            {
                var r0 = Vector128.Load(columns);
                var r1 = Vector128.Load(columns + stride);
                var r2 = Vector128.Load(columns + 2 * stride);
                var r3 = Vector128.Load(columns + 3 * stride);
                var low01 = Sse2.UnpackLow(r0, r1).AsInt16();
                var high01 = Sse2.UnpackHigh(r0, r1).AsInt16();
                var low23 = Sse2.UnpackLow(r2, r3).AsInt16();
                var high23 = Sse2.UnpackHigh(r2, r3).AsInt16();
                Sse2.UnpackLow(low01, low23).AsByte().Store(panel);
                Sse2.UnpackHigh(low01, low23).AsByte().Store(panel + 16);
                Sse2.UnpackLow(high01, high23).AsByte().Store(panel + 32);
                Sse2.UnpackHigh(high01, high23).AsByte().Store(panel + 48);
            }
        for (; k < depth; k += 4, columns += 4 * stride, panel += 64)
            for (var column = 0; column < Columns; column++)
                for (var i = 0; i < 4; i++)
                    panel[column * 4 + i] = column < count && k + i < depth ? (byte)columns[i * stride + column] : (byte)0;
    }

    /// <summary>Eight codes: the first four in the low halves of four bytes, the others in the high ones.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Halves(sbyte* codes, Vector128<sbyte> add)
    {
        var stored = (Vector128.CreateScalarUnsafe(*(long*)codes).AsSByte() + add) & Vector128.Create((sbyte)15);
        var eight = stored.AsUInt64().ToScalar();
        return (uint)(eight | eight >> 28);
    }
}
