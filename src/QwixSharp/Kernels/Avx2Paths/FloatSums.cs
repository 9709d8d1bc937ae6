using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace QwixSharp.Kernels.Avx2Paths;

/// <summary>Adds products of rows and 16 columns of decoded numbers [depth][16] to sums [row][16].</summary>
/// <remarks>
/// Six rows: 12 sums, 2 halves of a number and an activation are 15 of the 16 registers. What is added up here is added to the sums at the end:
/// of a long K one after the other, roundings of equal values would lean to one side.
/// </remarks>
internal static unsafe class FloatSums
{
    /// <summary>Six rows of a block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Six(float* w, int depth, float* x, int step, float* sums)
    {
        var low0 = Vector256<float>.Zero;
        var high0 = Vector256<float>.Zero;
        var low1 = Vector256<float>.Zero;
        var high1 = Vector256<float>.Zero;
        var low2 = Vector256<float>.Zero;
        var high2 = Vector256<float>.Zero;
        var low3 = Vector256<float>.Zero;
        var high3 = Vector256<float>.Zero;
        var low4 = Vector256<float>.Zero;
        var high4 = Vector256<float>.Zero;
        var low5 = Vector256<float>.Zero;
        var high5 = Vector256<float>.Zero;
        for (; depth > 0; depth--, w += 16, x += step)
        {
            var left = Vector256.Load(w);
            var right = Vector256.Load(w + 8);
            var v = Vector256.Create(x[0]);
            low0 = Fma.MultiplyAdd(left, v, low0);
            high0 = Fma.MultiplyAdd(right, v, high0);
            v = Vector256.Create(x[1]);
            low1 = Fma.MultiplyAdd(left, v, low1);
            high1 = Fma.MultiplyAdd(right, v, high1);
            v = Vector256.Create(x[2]);
            low2 = Fma.MultiplyAdd(left, v, low2);
            high2 = Fma.MultiplyAdd(right, v, high2);
            v = Vector256.Create(x[3]);
            low3 = Fma.MultiplyAdd(left, v, low3);
            high3 = Fma.MultiplyAdd(right, v, high3);
            v = Vector256.Create(x[4]);
            low4 = Fma.MultiplyAdd(left, v, low4);
            high4 = Fma.MultiplyAdd(right, v, high4);
            v = Vector256.Create(x[5]);
            low5 = Fma.MultiplyAdd(left, v, low5);
            high5 = Fma.MultiplyAdd(right, v, high5);
        }
        (low0 + Vector256.Load(sums)).Store(sums);
        (high0 + Vector256.Load(sums + 8)).Store(sums + 8);
        (low1 + Vector256.Load(sums + 16)).Store(sums + 16);
        (high1 + Vector256.Load(sums + 24)).Store(sums + 24);
        (low2 + Vector256.Load(sums + 32)).Store(sums + 32);
        (high2 + Vector256.Load(sums + 40)).Store(sums + 40);
        (low3 + Vector256.Load(sums + 48)).Store(sums + 48);
        (high3 + Vector256.Load(sums + 56)).Store(sums + 56);
        (low4 + Vector256.Load(sums + 64)).Store(sums + 64);
        (high4 + Vector256.Load(sums + 72)).Store(sums + 72);
        (low5 + Vector256.Load(sums + 80)).Store(sums + 80);
        (high5 + Vector256.Load(sums + 88)).Store(sums + 88);
    }

    /// <summary>Two rows of a block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Two(float* w, int depth, float* x, int step, float* sums)
    {
        var low0 = Vector256<float>.Zero;
        var high0 = Vector256<float>.Zero;
        var low1 = Vector256<float>.Zero;
        var high1 = Vector256<float>.Zero;
        for (; depth > 0; depth--, w += 16, x += step)
        {
            var left = Vector256.Load(w);
            var right = Vector256.Load(w + 8);
            var v = Vector256.Create(x[0]);
            low0 = Fma.MultiplyAdd(left, v, low0);
            high0 = Fma.MultiplyAdd(right, v, high0);
            v = Vector256.Create(x[1]);
            low1 = Fma.MultiplyAdd(left, v, low1);
            high1 = Fma.MultiplyAdd(right, v, high1);
        }
        (low0 + Vector256.Load(sums)).Store(sums);
        (high0 + Vector256.Load(sums + 8)).Store(sums + 8);
        (low1 + Vector256.Load(sums + 16)).Store(sums + 16);
        (high1 + Vector256.Load(sums + 24)).Store(sums + 24);
    }

    /// <summary>One row of a block.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void One(float* w, int depth, float* x, int step, float* sums)
    {
        var low0 = Vector256<float>.Zero;
        var high0 = Vector256<float>.Zero;
        for (; depth > 0; depth--, w += 16, x += step)
        {
            var left = Vector256.Load(w);
            var right = Vector256.Load(w + 8);
            var v = Vector256.Create(x[0]);
            low0 = Fma.MultiplyAdd(left, v, low0);
            high0 = Fma.MultiplyAdd(right, v, high0);
        }
        (low0 + Vector256.Load(sums)).Store(sums);
        (high0 + Vector256.Load(sums + 8)).Store(sums + 8);
    }
}
