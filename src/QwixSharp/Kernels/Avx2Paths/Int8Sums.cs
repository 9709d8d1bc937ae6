using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Simd = System.Runtime.Intrinsics.X86.Avx2;

namespace QwixSharp.Kernels.Avx2Paths;

/// <summary>Sums over one tile of byte codes for 4, 2 or 1 rows, with <c>pmaddwd</c> on even and odd bytes.</summary>
/// <remarks>
/// Activations lie as 16-bit pairs (k, k+2), a step behind them (k+1, k+3): the even and odd bytes of a lane. Four rows: 8 sums,
/// 4 halves of codes and a pair of activations are 13 of the 16 registers.
/// </remarks>
internal static unsafe class Int8Sums
{
    /// <summary>Four rows of a block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Four(byte* a, byte* w, nint step, nint groups, int* start, int* sums)
    {
        var low0 = Vector256.Create(start[0]);
        var high0 = low0;
        var low1 = Vector256.Create(start[1]);
        var high1 = low1;
        var low2 = Vector256.Create(start[2]);
        var high2 = low2;
        var low3 = Vector256.Create(start[3]);
        var high3 = low3;
        for (; groups > 0; groups--, w += 64, a += 2 * step)
        {
            var codes = Vector256.Load((short*)w);
            var even = Even(codes);
            var odd = Odd(codes);
            var codes2 = Vector256.Load((short*)w + 16);
            var even2 = Even(codes2);
            var odd2 = Odd(codes2);
            var x0 = Pair(a);
            low0 += Simd.MultiplyAddAdjacent(even, x0);
            high0 += Simd.MultiplyAddAdjacent(even2, x0);
            x0 = Pair(a + step);
            low0 += Simd.MultiplyAddAdjacent(odd, x0);
            high0 += Simd.MultiplyAddAdjacent(odd2, x0);
            var x1 = Pair(a + 4);
            low1 += Simd.MultiplyAddAdjacent(even, x1);
            high1 += Simd.MultiplyAddAdjacent(even2, x1);
            x1 = Pair(a + step + 4);
            low1 += Simd.MultiplyAddAdjacent(odd, x1);
            high1 += Simd.MultiplyAddAdjacent(odd2, x1);
            var x2 = Pair(a + 8);
            low2 += Simd.MultiplyAddAdjacent(even, x2);
            high2 += Simd.MultiplyAddAdjacent(even2, x2);
            x2 = Pair(a + step + 8);
            low2 += Simd.MultiplyAddAdjacent(odd, x2);
            high2 += Simd.MultiplyAddAdjacent(odd2, x2);
            var x3 = Pair(a + 12);
            low3 += Simd.MultiplyAddAdjacent(even, x3);
            high3 += Simd.MultiplyAddAdjacent(even2, x3);
            x3 = Pair(a + step + 12);
            low3 += Simd.MultiplyAddAdjacent(odd, x3);
            high3 += Simd.MultiplyAddAdjacent(odd2, x3);
        }
        low0.Store(sums);
        high0.Store(sums + 8);
        low1.Store(sums + 16);
        high1.Store(sums + 24);
        low2.Store(sums + 32);
        high2.Store(sums + 40);
        low3.Store(sums + 48);
        high3.Store(sums + 56);
    }

    /// <summary>Two rows of a block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Two(byte* a, byte* w, nint step, nint groups, int* start, int* sums)
    {
        var low0 = Vector256.Create(start[0]);
        var high0 = low0;
        var low1 = Vector256.Create(start[1]);
        var high1 = low1;
        for (; groups > 0; groups--, w += 64, a += 2 * step)
        {
            var codes = Vector256.Load((short*)w);
            var even = Even(codes);
            var odd = Odd(codes);
            var codes2 = Vector256.Load((short*)w + 16);
            var even2 = Even(codes2);
            var odd2 = Odd(codes2);
            var x0 = Pair(a);
            low0 += Simd.MultiplyAddAdjacent(even, x0);
            high0 += Simd.MultiplyAddAdjacent(even2, x0);
            x0 = Pair(a + step);
            low0 += Simd.MultiplyAddAdjacent(odd, x0);
            high0 += Simd.MultiplyAddAdjacent(odd2, x0);
            var x1 = Pair(a + 4);
            low1 += Simd.MultiplyAddAdjacent(even, x1);
            high1 += Simd.MultiplyAddAdjacent(even2, x1);
            x1 = Pair(a + step + 4);
            low1 += Simd.MultiplyAddAdjacent(odd, x1);
            high1 += Simd.MultiplyAddAdjacent(odd2, x1);
        }
        low0.Store(sums);
        high0.Store(sums + 8);
        low1.Store(sums + 16);
        high1.Store(sums + 24);
    }

    /// <summary>One row of a block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void One(byte* a, byte* w, nint step, nint groups, int* start, int* sums)
    {
        var low0 = Vector256.Create(start[0]);
        var high0 = low0;
        var oddLow = Vector256<int>.Zero;
        var oddHigh = oddLow;
        for (; groups > 0; groups--, w += 64, a += 2 * step)
        {
            var codes = Vector256.Load((short*)w);
            var even = Even(codes);
            var odd = Odd(codes);
            var x = Pair(a);
            var y = Pair(a + step);
            low0 += Simd.MultiplyAddAdjacent(even, x);
            oddLow += Simd.MultiplyAddAdjacent(odd, y);
            codes = Vector256.Load((short*)w + 16);
            high0 += Simd.MultiplyAddAdjacent(Even(codes), x);
            oddHigh += Simd.MultiplyAddAdjacent(Odd(codes), y);
        }
        (low0 + oddLow).Store(sums);
        (high0 + oddHigh).Store(sums + 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<short> Even(Vector256<short> codes) => Simd.ShiftRightArithmetic(Simd.ShiftLeftLogical(codes, 8), 8);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<short> Odd(Vector256<short> codes) => Simd.ShiftRightArithmetic(codes, 8);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<short> Pair(byte* a) => Simd.BroadcastScalarToVector256((int*)a).AsInt16();
}
