using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace QwixSharp.Kernels.Attention;

/// <summary>
/// A small product of float32 matrices that lie in the first-level cache. A sum is added up in the order of its depth, whatever the
/// width of vectors.
/// </summary>
internal static unsafe partial class BlockProduct
{
    /// <summary>The number of rows is a multiple of this.</summary>
    public const int Rows = 4;

    /// <summary>The number of columns is a multiple of this.</summary>
    public const int Columns = 16;

    /// <summary>c = a · b, or c += a · b.</summary>
    /// <param name="a">[rows, depth], rows at a distance of <paramref name="aStride"/>.</param>
    /// <param name="aStride">In elements.</param>
    /// <param name="b">[depth, columns], rows at a distance of <paramref name="bStride"/>.</param>
    /// <param name="bStride">In elements.</param>
    /// <param name="c">[rows, columns], without gaps.</param>
    /// <param name="rows">A multiple of <see cref="Rows"/>.</param>
    /// <param name="columns">A multiple of <see cref="Columns"/>.</param>
    /// <param name="depth">The length of the sums.</param>
    /// <param name="adds">Whether the product is added to c.</param>
    public static void Multiply(float* a, nint aStride, float* b, nint bStride, float* c, int rows, int columns, int depth, bool adds)
    {
        if (Avx512F.IsSupported && columns % WideColumns == 0)
            MultiplyWide(a, aStride, b, bStride, c, rows, columns, depth, adds);
        else
            MultiplyNarrow(a, aStride, b, bStride, c, rows, columns, depth, adds);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void MultiplyNarrow(float* a, nint aStride, float* b, nint bStride, float* c, int rows, int columns, int depth, bool adds)
    {
        for (var row = 0; row < rows; row += Rows)
            for (var column = 0; column < columns; column += Columns)
            {
                float* a0 = a + row * aStride, a1 = a0 + aStride, a2 = a1 + aStride, a3 = a2 + aStride;
                float* c0 = c + (nint)row * columns + column, c1 = c0 + columns, c2 = c1 + columns, c3 = c2 + columns;
                var from = b + column;
                Vector256<float> l0 = default, r0 = default, l1 = default, r1 = default, l2 = default, r2 = default, l3 = default, r3 = default;
                if (adds)
                {
                    (l0, r0, l1, r1) = (Vector256.Load(c0), Vector256.Load(c0 + 8), Vector256.Load(c1), Vector256.Load(c1 + 8));
                    (l2, r2, l3, r3) = (Vector256.Load(c2), Vector256.Load(c2 + 8), Vector256.Load(c3), Vector256.Load(c3 + 8));
                }
                for (nint k = 0; k < depth; k++, from += bStride)
                {
                    var left = Vector256.Load(from);
                    var right = Vector256.Load(from + 8);
                    var factor = Vector256.Create(a0[k]);
                    l0 = Vector256.FusedMultiplyAdd(factor, left, l0);
                    r0 = Vector256.FusedMultiplyAdd(factor, right, r0);
                    factor = Vector256.Create(a1[k]);
                    l1 = Vector256.FusedMultiplyAdd(factor, left, l1);
                    r1 = Vector256.FusedMultiplyAdd(factor, right, r1);
                    factor = Vector256.Create(a2[k]);
                    l2 = Vector256.FusedMultiplyAdd(factor, left, l2);
                    r2 = Vector256.FusedMultiplyAdd(factor, right, r2);
                    factor = Vector256.Create(a3[k]);
                    l3 = Vector256.FusedMultiplyAdd(factor, left, l3);
                    r3 = Vector256.FusedMultiplyAdd(factor, right, r3);
                }
                l0.Store(c0);
                r0.Store(c0 + 8);
                l1.Store(c1);
                r1.Store(c1 + 8);
                l2.Store(c2);
                r2.Store(c2 + 8);
                l3.Store(c3);
                r3.Store(c3 + 8);
            }
    }
}
