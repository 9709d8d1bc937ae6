using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using QwixSharp.Kernels.Passes;

namespace QwixSharp.Kernels.Chains;

/// <summary>
/// Rotary positions (Su et al., arXiv 2104.09864), whose pairs are the two halves of a head: y = x · cos + (−x₂, x₁) · sin.
/// </summary>
internal static unsafe class RotaryKernel
{
    /// <summary>Turns all heads of all tokens.</summary>
    /// <param name="x">Where the heads are.</param>
    /// <param name="shape">Their sizes and distances.</param>
    /// <param name="cos">[tokens, size].</param>
    /// <param name="sin">[tokens, size].</param>
    /// <param name="y">[batch, heads, tokens, size] without gaps; must not overlap x.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void Run(float* x, RotaryShape shape, float* cos, float* sin, float* y, int threads)
    {
        var rows = shape.Batch * shape.Heads * shape.Tokens;
        if (rows * shape.Size <= 4096)
            for (var row = 0L; row < rows; row++)
                Row(x, shape, cos, sin, y, row);
        else
            RowsJob.Run(rows, shape.Size, threads, row => Row(x, shape, cos, sin, y, row));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Row(float* x, in RotaryShape shape, float* cos, float* sin, float* y, long row)
    {
        long token = row % shape.Tokens, head = row / shape.Tokens % shape.Heads, batch = row / shape.Tokens / shape.Heads, half = shape.Size / 2;
        float* first = x + batch * shape.BatchStride + head * shape.HeadStride + token * shape.TokenStride, second = first + half;
        float* c = cos + token * shape.Size, s = sin + token * shape.Size, target = y + row * shape.Size;
        var i = 0L;
        for (; i + 8 <= half; i += 8)
        {
            var a = Vector256.Load(first + i);
            var b = Vector256.Load(second + i);
            (a * Vector256.Load(c + i) - b * Vector256.Load(s + i)).Store(target + i);
            (b * Vector256.Load(c + half + i) + a * Vector256.Load(s + half + i)).Store(target + half + i);
        }
        for (; i < half; i++)
        {
            target[i] = first[i] * c[i] - second[i] * s[i];
            target[half + i] = second[i] * c[half + i] + first[i] * s[half + i];
        }
    }
}

/// <summary>Heads of tokens, and how far apart they lie; the features of a head lie side by side.</summary>
/// <param name="Batch">Sequences.</param>
/// <param name="Heads">Heads.</param>
/// <param name="Tokens">Tokens.</param>
/// <param name="Size">The features of a head, an even number.</param>
/// <param name="BatchStride">In elements.</param>
/// <param name="HeadStride">In elements.</param>
/// <param name="TokenStride">In elements.</param>
internal readonly record struct RotaryShape(long Batch, long Heads, long Tokens, long Size, long BatchStride, long HeadStride, long TokenStride);
