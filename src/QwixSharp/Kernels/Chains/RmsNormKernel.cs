using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using QwixSharp.Kernels.Passes;

namespace QwixSharp.Kernels.Chains;

/// <summary>Root-mean-square norm of rows (Zhang and Sennrich, arXiv 1910.07467) in one pass: y = x ÷ √(mean(x²) + ε) · w.</summary>
internal static unsafe class RmsNormKernel
{
    /// <summary>Norms every row.</summary>
    /// <param name="x">[rows, columns].</param>
    /// <param name="weight">[columns], or null for 1.</param>
    /// <param name="y">[rows, columns]; may be x.</param>
    /// <param name="rows">How many rows.</param>
    /// <param name="columns">The elements of a row; rows follow each other without gaps.</param>
    /// <param name="epsilon">ε.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void Run(float* x, float* weight, float* y, long rows, long columns, float epsilon, int threads)
    {
        if (rows == 1)
            Row(x, weight, y, columns, epsilon);
        else
            RowsJob.Run(rows, columns, threads, row => Row(x + row * columns, weight, y + row * columns, columns, epsilon));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Row(float* x, float* weight, float* y, long count, float epsilon)
    {
        var factor = 1 / MathF.Sqrt(SumOfSquares(x, count) / count + epsilon);
        var factors = Vector256.Create(factor);
        var i = 0L;
        if (weight == null)
        {
            for (; i + 8 <= count; i += 8)
                (Vector256.Load(x + i) * factors).Store(y + i);
            for (; i < count; i++)
                y[i] = x[i] * factor;
            return;
        }
        for (; i + 8 <= count; i += 8)
            (Vector256.Load(x + i) * factors * Vector256.Load(weight + i)).Store(y + i);
        for (; i < count; i++)
            y[i] = x[i] * factor * weight[i];
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float SumOfSquares(float* x, long count)
    {
        Vector256<float> a = default, b = default, c = default, d = default;
        var i = 0L;
        for (; i + 32 <= count; i += 32)
        {
            var v = Vector256.Load(x + i);
            a = Vector256.FusedMultiplyAdd(v, v, a);
            v = Vector256.Load(x + i + 8);
            b = Vector256.FusedMultiplyAdd(v, v, b);
            v = Vector256.Load(x + i + 16);
            c = Vector256.FusedMultiplyAdd(v, v, c);
            v = Vector256.Load(x + i + 24);
            d = Vector256.FusedMultiplyAdd(v, v, d);
        }
        var sum = Vector256.Sum(a + b + (c + d));
        for (; i < count; i++)
            sum += x[i] * x[i];
        return sum;
    }
}
