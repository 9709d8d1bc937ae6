using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using QwixSharp.Kernels.Passes;

namespace QwixSharp.Kernels.Chains;

/// <summary>Layer norm of rows (Ba, Kiros and Hinton, arXiv 1607.06450), of a sum of two arrays where a second is given: y = (x − mean) ÷ √(variance + ε) · w + b.</summary>
internal static unsafe class LayerNormKernel
{
    /// <summary>Norms every row.</summary>
    /// <param name="x">[rows, columns].</param>
    /// <param name="added">[rows, columns], added to x before; or null.</param>
    /// <param name="weight">[columns], or null for 1.</param>
    /// <param name="bias">[columns]; null where the weight is.</param>
    /// <param name="y">[rows, columns].</param>
    /// <param name="rows">How many rows.</param>
    /// <param name="columns">The elements of a row; rows follow each other without gaps.</param>
    /// <param name="epsilon">ε.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void Run(float* x, float* added, float* weight, float* bias, float* y, long rows, long columns, float epsilon, int threads)
    {
        if (rows == 1)
            Row(x, added, weight, bias, y, columns, epsilon);
        else
            RowsJob.Run(rows, columns, threads, row => Row(x + row * columns, added == null ? null : added + row * columns, weight, bias, y + row * columns, columns, epsilon));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Row(float* x, float* added, float* weight, float* bias, float* y, long count, float epsilon)
    {
        var mean = Sum(x, added, y, count) / count;
        var means = Vector256.Create(mean);
        var squares = Vector256<float>.Zero;
        var i = 0L;
        for (; i + 8 <= count; i += 8)
        {
            var distance = Vector256.Load(y + i) - means;
            squares = Vector256.FusedMultiplyAdd(distance, distance, squares);
        }
        var variance = Vector256.Sum(squares);
        for (; i < count; i++)
            variance += (y[i] - mean) * (y[i] - mean);
        var factor = 1 / MathF.Sqrt(variance / count + epsilon);
        var factors = Vector256.Create(factor);
        i = 0;
        for (; i + 8 <= count; i += 8)
        {
            var value = (Vector256.Load(y + i) - means) * factors;
            (weight == null ? value : Vector256.FusedMultiplyAdd(value, Vector256.Load(weight + i), Vector256.Load(bias + i))).Store(y + i);
        }
        for (; i < count; i++)
            y[i] = weight == null ? (y[i] - mean) * factor : (y[i] - mean) * factor * weight[i] + bias[i];
    }

    /// <summary>y = x + added, and its sum.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float Sum(float* x, float* added, float* y, long count)
    {
        Vector256<float> sums = default, more = default;
        var i = 0L;
        for (; i + 16 <= count; i += 16)
        {
            Vector256<float> left = Vector256.Load(x + i), right = Vector256.Load(x + i + 8);
            if (added != null)
            {
                left += Vector256.Load(added + i);
                right += Vector256.Load(added + i + 8);
            }
            left.Store(y + i);
            right.Store(y + i + 8);
            sums += left;
            more += right;
        }
        var sum = Vector256.Sum(sums + more);
        for (; i < count; i++)
        {
            y[i] = added == null ? x[i] : x[i] + added[i];
            sum += y[i];
        }
        return sum;
    }
}
