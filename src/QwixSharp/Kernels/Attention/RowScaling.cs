using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace QwixSharp.Kernels.Attention;

/// <summary>Rows of float32 times a number.</summary>
internal static unsafe class RowScaling
{
    /// <summary>y = x · factor.</summary>
    /// <param name="x">The values.</param>
    /// <param name="factor">The factor.</param>
    /// <param name="y">The result; may be <paramref name="x"/>.</param>
    /// <param name="count">How many.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Multiply(float* x, float factor, float* y, int count)
    {
        nint i = 0;
        for (; i + 8 <= count; i += 8)
            (Vector256.Load(x + i) * factor).Store(y + i);
        for (; i < count; i++)
            y[i] = x[i] * factor;
    }

    /// <summary>y += x · factor.</summary>
    /// <param name="x">The values.</param>
    /// <param name="factor">The factor.</param>
    /// <param name="y">The sums.</param>
    /// <param name="count">How many.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Add(float* x, float factor, float* y, int count)
    {
        nint i = 0;
        for (; i + 8 <= count; i += 8)
            Vector256.FusedMultiplyAdd(Vector256.Load(x + i), Vector256.Create(factor), Vector256.Load(y + i)).Store(y + i);
        for (; i < count; i++)
            y[i] += x[i] * factor;
    }
}
