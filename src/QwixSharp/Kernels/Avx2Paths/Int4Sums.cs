using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Simd = System.Runtime.Intrinsics.X86.Avx2;

namespace QwixSharp.Kernels.Avx2Paths;

/// <summary>Sums over one tile of half-byte codes (0 … 15) for 4, 2 or 1 rows, with <c>pmaddubsw</c>.</summary>
/// <remarks>
/// A pair of products is at most 2 · 15 · 128 in magnitude, and eight pairs, 32 values of K, fit 16 bits. Four rows: 8 sums,
/// 2 words of codes, 2 of their halves, the mask and an activation are 14 of the 16 registers; 32-bit sums stay in memory.
/// </remarks>
internal static unsafe class Int4Sums
{
    /// <summary>Groups of 8 values of K that a 16-bit sum holds.</summary>
    private const int ShortGroups = 4;

    /// <summary>Four rows of a block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Four(byte* a, byte* w, nint step, nint groups, int* start, int* sums)
    {
        for (var row = 0; row < 4; row++)
            Start(start[row], sums + 16 * row);
        var mask = Vector256.Create((byte)15);
        while (groups > 0)
        {
            var low0 = Vector256<short>.Zero;
            var high0 = low0;
            var low1 = Vector256<short>.Zero;
            var high1 = low1;
            var low2 = Vector256<short>.Zero;
            var high2 = low2;
            var low3 = Vector256<short>.Zero;
            var high3 = low3;
            for (var group = Math.Min(groups, ShortGroups); group > 0; group--, w += 64, a += 2 * step)
            {
                var codes = Vector256.Load(w);
                var codes2 = Vector256.Load(w + 32);
                var first = codes & mask;
                var first2 = codes2 & mask;
                var x0 = Word(a);
                low0 += Simd.MultiplyAddAdjacent(first, x0);
                high0 += Simd.MultiplyAddAdjacent(first2, x0);
                var x1 = Word(a + 4);
                low1 += Simd.MultiplyAddAdjacent(first, x1);
                high1 += Simd.MultiplyAddAdjacent(first2, x1);
                var x2 = Word(a + 8);
                low2 += Simd.MultiplyAddAdjacent(first, x2);
                high2 += Simd.MultiplyAddAdjacent(first2, x2);
                var x3 = Word(a + 12);
                low3 += Simd.MultiplyAddAdjacent(first, x3);
                high3 += Simd.MultiplyAddAdjacent(first2, x3);
                first = Upper(codes) & mask;
                first2 = Upper(codes2) & mask;
                x0 = Word(a + step);
                low0 += Simd.MultiplyAddAdjacent(first, x0);
                high0 += Simd.MultiplyAddAdjacent(first2, x0);
                x1 = Word(a + step + 4);
                low1 += Simd.MultiplyAddAdjacent(first, x1);
                high1 += Simd.MultiplyAddAdjacent(first2, x1);
                x2 = Word(a + step + 8);
                low2 += Simd.MultiplyAddAdjacent(first, x2);
                high2 += Simd.MultiplyAddAdjacent(first2, x2);
                x3 = Word(a + step + 12);
                low3 += Simd.MultiplyAddAdjacent(first, x3);
                high3 += Simd.MultiplyAddAdjacent(first2, x3);
            }
            Add(low0, sums);
            Add(high0, sums + 8);
            Add(low1, sums + 16);
            Add(high1, sums + 24);
            Add(low2, sums + 32);
            Add(high2, sums + 40);
            Add(low3, sums + 48);
            Add(high3, sums + 56);
            groups -= Math.Min(groups, ShortGroups);
        }
    }

    /// <summary>Two rows of a block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Two(byte* a, byte* w, nint step, nint groups, int* start, int* sums)
    {
        for (var row = 0; row < 2; row++)
            Start(start[row], sums + 16 * row);
        var mask = Vector256.Create((byte)15);
        while (groups > 0)
        {
            var low0 = Vector256<short>.Zero;
            var high0 = low0;
            var low1 = Vector256<short>.Zero;
            var high1 = low1;
            for (var group = Math.Min(groups, ShortGroups); group > 0; group--, w += 64, a += 2 * step)
            {
                var codes = Vector256.Load(w);
                var codes2 = Vector256.Load(w + 32);
                var first = codes & mask;
                var first2 = codes2 & mask;
                var x0 = Word(a);
                low0 += Simd.MultiplyAddAdjacent(first, x0);
                high0 += Simd.MultiplyAddAdjacent(first2, x0);
                var x1 = Word(a + 4);
                low1 += Simd.MultiplyAddAdjacent(first, x1);
                high1 += Simd.MultiplyAddAdjacent(first2, x1);
                first = Upper(codes) & mask;
                first2 = Upper(codes2) & mask;
                x0 = Word(a + step);
                low0 += Simd.MultiplyAddAdjacent(first, x0);
                high0 += Simd.MultiplyAddAdjacent(first2, x0);
                x1 = Word(a + step + 4);
                low1 += Simd.MultiplyAddAdjacent(first, x1);
                high1 += Simd.MultiplyAddAdjacent(first2, x1);
            }
            Add(low0, sums);
            Add(high0, sums + 8);
            Add(low1, sums + 16);
            Add(high1, sums + 24);
            groups -= Math.Min(groups, ShortGroups);
        }
    }

    /// <summary>One row of a block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void One(byte* a, byte* w, nint step, nint groups, int* start, int* sums)
    {
        for (var row = 0; row < 1; row++)
            Start(start[row], sums + 16 * row);
        var mask = Vector256.Create((byte)15);
        while (groups > 0)
        {
            var low0 = Vector256<short>.Zero;
            var high0 = low0;
            for (var group = Math.Min(groups, ShortGroups); group > 0; group--, w += 64, a += 2 * step)
            {
                var codes = Vector256.Load(w);
                var codes2 = Vector256.Load(w + 32);
                var first = codes & mask;
                var first2 = codes2 & mask;
                var x0 = Word(a);
                low0 += Simd.MultiplyAddAdjacent(first, x0);
                high0 += Simd.MultiplyAddAdjacent(first2, x0);
                first = Upper(codes) & mask;
                first2 = Upper(codes2) & mask;
                x0 = Word(a + step);
                low0 += Simd.MultiplyAddAdjacent(first, x0);
                high0 += Simd.MultiplyAddAdjacent(first2, x0);
            }
            Add(low0, sums);
            Add(high0, sums + 8);
            groups -= Math.Min(groups, ShortGroups);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Start(int value, int* sums)
    {
        Vector256.Create(value).Store(sums);
        Vector256.Create(value).Store(sums + 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add(Vector256<short> shorts, int* sums) =>
        (Vector256.Load(sums) + Simd.MultiplyAddAdjacent(shorts, Vector256.Create((short)1))).Store(sums);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<byte> Upper(Vector256<byte> codes) => Simd.ShiftRightLogical(codes.AsUInt16(), 4).AsByte();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<sbyte> Word(byte* a) => Simd.BroadcastScalarToVector256((int*)a).AsSByte();
}
