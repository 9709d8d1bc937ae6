using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace QwixSharp.Kernels.Attention;

/// <summary>The same with AVX-512: sixteen sums of 512 bits, so that each number that is read serves two multiplications or more.</summary>
internal static unsafe partial class BlockProduct
{
    private const int WideColumns = 32, WidestColumns = 64;

    private const int Lanes = 16;

    private static void MultiplyWide(float* a, nint aStride, float* b, nint bStride, float* c, int rows, int columns, int depth, bool adds)
    {
        for (var column = 0; column < columns;)
        {
            var widest = columns - column >= WidestColumns;
            for (var row = 0; row < rows;)
            {
                float* from = a + row * aStride, to = c + (nint)row * columns + column;
                if (widest)
                    FourByFour(from, aStride, b + column, bStride, to, columns, depth, adds);
                else if (rows - row >= 2 * Rows)
                    EightByTwo(from, aStride, b + column, bStride, to, columns, depth, adds);
                else
                    FourByTwo(from, aStride, b + column, bStride, to, columns, depth, adds);
                row += !widest && rows - row >= 2 * Rows ? 2 * Rows : Rows;
            }
            column += widest ? WidestColumns : WideColumns;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FourByFour(float* a, nint aStride, float* b, nint bStride, float* c, nint cStride, int depth, bool adds)
    {
        float* a0 = a, a1 = a0 + aStride, a2 = a1 + aStride, a3 = a2 + aStride;
        float* c0 = c, c1 = c0 + cStride, c2 = c1 + cStride, c3 = c2 + cStride;
        Vector512<float> s00 = default, s01 = default, s02 = default, s03 = default, s10 = default, s11 = default, s12 = default, s13 = default;
        Vector512<float> s20 = default, s21 = default, s22 = default, s23 = default, s30 = default, s31 = default, s32 = default, s33 = default;
        if (adds)
        {
            (s00, s01, s02, s03) = (Vector512.Load(c0), Vector512.Load(c0 + Lanes), Vector512.Load(c0 + 2 * Lanes), Vector512.Load(c0 + 3 * Lanes));
            (s10, s11, s12, s13) = (Vector512.Load(c1), Vector512.Load(c1 + Lanes), Vector512.Load(c1 + 2 * Lanes), Vector512.Load(c1 + 3 * Lanes));
            (s20, s21, s22, s23) = (Vector512.Load(c2), Vector512.Load(c2 + Lanes), Vector512.Load(c2 + 2 * Lanes), Vector512.Load(c2 + 3 * Lanes));
            (s30, s31, s32, s33) = (Vector512.Load(c3), Vector512.Load(c3 + Lanes), Vector512.Load(c3 + 2 * Lanes), Vector512.Load(c3 + 3 * Lanes));
        }
        for (nint k = 0; k < depth; k++, b += bStride)
        {
            Vector512<float> b0 = Vector512.Load(b), b1 = Vector512.Load(b + Lanes), b2 = Vector512.Load(b + 2 * Lanes), b3 = Vector512.Load(b + 3 * Lanes);
            var factor = Vector512.Create(a0[k]);
            s00 = Avx512F.FusedMultiplyAdd(factor, b0, s00);
            s01 = Avx512F.FusedMultiplyAdd(factor, b1, s01);
            s02 = Avx512F.FusedMultiplyAdd(factor, b2, s02);
            s03 = Avx512F.FusedMultiplyAdd(factor, b3, s03);
            factor = Vector512.Create(a1[k]);
            s10 = Avx512F.FusedMultiplyAdd(factor, b0, s10);
            s11 = Avx512F.FusedMultiplyAdd(factor, b1, s11);
            s12 = Avx512F.FusedMultiplyAdd(factor, b2, s12);
            s13 = Avx512F.FusedMultiplyAdd(factor, b3, s13);
            factor = Vector512.Create(a2[k]);
            s20 = Avx512F.FusedMultiplyAdd(factor, b0, s20);
            s21 = Avx512F.FusedMultiplyAdd(factor, b1, s21);
            s22 = Avx512F.FusedMultiplyAdd(factor, b2, s22);
            s23 = Avx512F.FusedMultiplyAdd(factor, b3, s23);
            factor = Vector512.Create(a3[k]);
            s30 = Avx512F.FusedMultiplyAdd(factor, b0, s30);
            s31 = Avx512F.FusedMultiplyAdd(factor, b1, s31);
            s32 = Avx512F.FusedMultiplyAdd(factor, b2, s32);
            s33 = Avx512F.FusedMultiplyAdd(factor, b3, s33);
        }
        Store(s00, s01, c0);
        Store(s02, s03, c0 + 2 * Lanes);
        Store(s10, s11, c1);
        Store(s12, s13, c1 + 2 * Lanes);
        Store(s20, s21, c2);
        Store(s22, s23, c2 + 2 * Lanes);
        Store(s30, s31, c3);
        Store(s32, s33, c3 + 2 * Lanes);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void EightByTwo(float* a, nint aStride, float* b, nint bStride, float* c, nint cStride, int depth, bool adds)
    {
        float* a0 = a, a1 = a0 + aStride, a2 = a1 + aStride, a3 = a2 + aStride, a4 = a3 + aStride, a5 = a4 + aStride, a6 = a5 + aStride, a7 = a6 + aStride;
        float* c0 = c, c1 = c0 + cStride, c2 = c1 + cStride, c3 = c2 + cStride, c4 = c3 + cStride, c5 = c4 + cStride, c6 = c5 + cStride, c7 = c6 + cStride;
        Vector512<float> l0 = default, l1 = default, l2 = default, l3 = default, l4 = default, l5 = default, l6 = default, l7 = default;
        Vector512<float> r0 = default, r1 = default, r2 = default, r3 = default, r4 = default, r5 = default, r6 = default, r7 = default;
        if (adds)
        {
            (l0, r0, l1, r1) = (Vector512.Load(c0), Vector512.Load(c0 + Lanes), Vector512.Load(c1), Vector512.Load(c1 + Lanes));
            (l2, r2, l3, r3) = (Vector512.Load(c2), Vector512.Load(c2 + Lanes), Vector512.Load(c3), Vector512.Load(c3 + Lanes));
            (l4, r4, l5, r5) = (Vector512.Load(c4), Vector512.Load(c4 + Lanes), Vector512.Load(c5), Vector512.Load(c5 + Lanes));
            (l6, r6, l7, r7) = (Vector512.Load(c6), Vector512.Load(c6 + Lanes), Vector512.Load(c7), Vector512.Load(c7 + Lanes));
        }
        for (nint k = 0; k < depth; k++, b += bStride)
        {
            Vector512<float> left = Vector512.Load(b), right = Vector512.Load(b + Lanes);
            var factor = Vector512.Create(a0[k]);
            l0 = Avx512F.FusedMultiplyAdd(factor, left, l0);
            r0 = Avx512F.FusedMultiplyAdd(factor, right, r0);
            factor = Vector512.Create(a1[k]);
            l1 = Avx512F.FusedMultiplyAdd(factor, left, l1);
            r1 = Avx512F.FusedMultiplyAdd(factor, right, r1);
            factor = Vector512.Create(a2[k]);
            l2 = Avx512F.FusedMultiplyAdd(factor, left, l2);
            r2 = Avx512F.FusedMultiplyAdd(factor, right, r2);
            factor = Vector512.Create(a3[k]);
            l3 = Avx512F.FusedMultiplyAdd(factor, left, l3);
            r3 = Avx512F.FusedMultiplyAdd(factor, right, r3);
            factor = Vector512.Create(a4[k]);
            l4 = Avx512F.FusedMultiplyAdd(factor, left, l4);
            r4 = Avx512F.FusedMultiplyAdd(factor, right, r4);
            factor = Vector512.Create(a5[k]);
            l5 = Avx512F.FusedMultiplyAdd(factor, left, l5);
            r5 = Avx512F.FusedMultiplyAdd(factor, right, r5);
            factor = Vector512.Create(a6[k]);
            l6 = Avx512F.FusedMultiplyAdd(factor, left, l6);
            r6 = Avx512F.FusedMultiplyAdd(factor, right, r6);
            factor = Vector512.Create(a7[k]);
            l7 = Avx512F.FusedMultiplyAdd(factor, left, l7);
            r7 = Avx512F.FusedMultiplyAdd(factor, right, r7);
        }
        Store(l0, r0, c0);
        Store(l1, r1, c1);
        Store(l2, r2, c2);
        Store(l3, r3, c3);
        Store(l4, r4, c4);
        Store(l5, r5, c5);
        Store(l6, r6, c6);
        Store(l7, r7, c7);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void FourByTwo(float* a, nint aStride, float* b, nint bStride, float* c, nint cStride, int depth, bool adds)
    {
        float* a0 = a, a1 = a0 + aStride, a2 = a1 + aStride, a3 = a2 + aStride;
        float* c0 = c, c1 = c0 + cStride, c2 = c1 + cStride, c3 = c2 + cStride;
        Vector512<float> l0 = default, l1 = default, l2 = default, l3 = default, r0 = default, r1 = default, r2 = default, r3 = default;
        if (adds)
        {
            (l0, r0, l1, r1) = (Vector512.Load(c0), Vector512.Load(c0 + Lanes), Vector512.Load(c1), Vector512.Load(c1 + Lanes));
            (l2, r2, l3, r3) = (Vector512.Load(c2), Vector512.Load(c2 + Lanes), Vector512.Load(c3), Vector512.Load(c3 + Lanes));
        }
        for (nint k = 0; k < depth; k++, b += bStride)
        {
            Vector512<float> left = Vector512.Load(b), right = Vector512.Load(b + Lanes);
            var factor = Vector512.Create(a0[k]);
            l0 = Avx512F.FusedMultiplyAdd(factor, left, l0);
            r0 = Avx512F.FusedMultiplyAdd(factor, right, r0);
            factor = Vector512.Create(a1[k]);
            l1 = Avx512F.FusedMultiplyAdd(factor, left, l1);
            r1 = Avx512F.FusedMultiplyAdd(factor, right, r1);
            factor = Vector512.Create(a2[k]);
            l2 = Avx512F.FusedMultiplyAdd(factor, left, l2);
            r2 = Avx512F.FusedMultiplyAdd(factor, right, r2);
            factor = Vector512.Create(a3[k]);
            l3 = Avx512F.FusedMultiplyAdd(factor, left, l3);
            r3 = Avx512F.FusedMultiplyAdd(factor, right, r3);
        }
        Store(l0, r0, c0);
        Store(l1, r1, c1);
        Store(l2, r2, c2);
        Store(l3, r3, c3);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(Vector512<float> left, Vector512<float> right, float* to)
    {
        left.Store(to);
        right.Store(to + Lanes);
    }
}
