using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using QwixSharp.Kernels.Passes;

namespace QwixSharp.Kernels.Chains;

/// <summary>Element-wise ops of two arrays of one size.</summary>
internal static unsafe class ElementwiseKernel
{
    /// <summary>What one chunk of a larger array holds: enough work for a thread, little enough for the first-level cache.</summary>
    private const long Chunk = 4096;

    /// <summary>y = silu(gate) · x, as in SwiGLU (Shazeer, arXiv 2002.05202).</summary>
    /// <param name="gate">The gate.</param>
    /// <param name="x">x.</param>
    /// <param name="y">y; may be one of the others.</param>
    /// <param name="count">How many elements.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void SiluTimes(float* gate, float* x, float* y, long count, int threads)
    {
        if (count <= Chunk)
            SiluTimes(gate, x, y, count);
        else
            RowsJob.Run((count + Chunk - 1) / Chunk, Chunk, threads, i => SiluTimes(gate + i * Chunk, x + i * Chunk, y + i * Chunk, Math.Min(Chunk, count - i * Chunk)));
    }

    /// <summary>y = a + b.</summary>
    /// <param name="a">a.</param>
    /// <param name="b">b.</param>
    /// <param name="y">y; may be one of the others.</param>
    /// <param name="count">How many elements.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void Add(float* a, float* b, float* y, long count, int threads)
    {
        if (count <= Chunk)
            Add(a, b, y, count);
        else
            RowsJob.Run((count + Chunk - 1) / Chunk, Chunk, threads, i => Add(a + i * Chunk, b + i * Chunk, y + i * Chunk, Math.Min(Chunk, count - i * Chunk)));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void SiluTimes(float* gate, float* x, float* y, long count)
    {
        var i = 0L;
        for (; i + 8 <= count; i += 8)
        {
            var g = Vector256.Load(gate + i);
            (g / (Vector256<float>.One + Vector256.Exp(-g)) * Vector256.Load(x + i)).Store(y + i);
        }
        for (; i < count; i++)
            y[i] = gate[i] / (1 + MathF.Exp(-gate[i])) * x[i];
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Add(float* a, float* b, float* y, long count)
    {
        var i = 0L;
        for (; i + 8 <= count; i += 8)
            (Vector256.Load(a + i) + Vector256.Load(b + i)).Store(y + i);
        for (; i < count; i++)
            y[i] = a[i] + b[i];
    }
}
