using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace QwixSharp.Kernels.Avx2Paths;

/// <summary>One row times a panel of half bytes in tiles of up to 32 values, whose sums fit 16 bits; see <see cref="Int4Sums"/>.</summary>
internal static unsafe class ShortTileRow
{
    private const int Columns = 16;

    /// <summary>Weights are read from memory as fast as they come: the processor does not look beyond a page; this does.</summary>
    private const int PrefetchDistance = 4096;

    /// <summary>Groups of 64 bytes in the longest tile.</summary>
    public const int MostGroups = 4;

    /// <summary>The scaled sums of all tiles.</summary>
    /// <param name="args">The operands.</param>
    /// <param name="w">The panel's codes.</param>
    /// <param name="weightScales">[tile][16].</param>
    /// <param name="totals">16 results.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Sum(IntegerTileArgs* args, byte* w, float* weightScales, float* totals)
    {
        var a = args->Activations;
        var start = args->Start;
        var rowScales = args->ActivationScales;
        var (tiles, groups) = (args->Tiles, args->Groups);
        var mask = Vector256.Create((byte)15);
        var ones = Vector256.Create((short)1);
        var totalLow = Vector256<float>.Zero;
        var totalHigh = totalLow;
        for (nint tile = 0; tile < tiles; tile++, weightScales += Columns)
        {
            var low = Vector256<short>.Zero;
            var high = low;
            var low2 = low;
            var high2 = low;
            for (var group = groups; group > 0; group--, w += 64, a += 8)
            {
                Sse.Prefetch0(w + PrefetchDistance);
                var codes = Vector256.Load(w);
                var codes2 = Vector256.Load(w + 32);
                var x = Word(a);
                low += Avx2.MultiplyAddAdjacent(codes & mask, x);
                high += Avx2.MultiplyAddAdjacent(codes2 & mask, x);
                x = Word(a + 4);
                low2 += Avx2.MultiplyAddAdjacent(Upper(codes) & mask, x);
                high2 += Avx2.MultiplyAddAdjacent(Upper(codes2) & mask, x);
            }
            var first = Vector256.Create(start[tile]);
            var scale = Vector256.Create(rowScales[tile]);
            var sumLow = Avx2.MultiplyAddAdjacent(low + low2, ones) + first;
            var sumHigh = Avx2.MultiplyAddAdjacent(high + high2, ones) + first;
            totalLow = Fma.MultiplyAdd(Avx.ConvertToVector256Single(sumLow), Vector256.Load(weightScales) * scale, totalLow);
            totalHigh = Fma.MultiplyAdd(Avx.ConvertToVector256Single(sumHigh), Vector256.Load(weightScales + 8) * scale, totalHigh);
        }
        totalLow.Store(totals);
        totalHigh.Store(totals + 8);
    }

    /// <summary>
    /// The same for a row of three digit planes, which one integer sum takes, the highest first; see <see cref="Assembled.PlanesEmitter"/>.
    /// </summary>
    /// <param name="args">The operands.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void SumPlanes(IntegerTileArgs* args)
    {
        byte* a = args->Activations, w = args->Weights;
        float* weightScales = args->WeightScales, rowScales = args->ActivationScales + 2;
        var start = args->Start;
        var (tiles, groups) = (args->Tiles, args->Groups);
        var mask = Vector256.Create((byte)15);
        var totalLow = Vector256<float>.Zero;
        var totalHigh = totalLow;
        for (; tiles > 0; tiles--, weightScales += Columns, start += 3, rowScales += 3)
        {
            var low0 = Vector256<short>.Zero;
            var (high0, low1, high1, low2, high2) = (low0, low0, low0, low0, low0);
            for (var group = groups; group > 0; group--, w += 64, a += 24)
            {
                Sse.Prefetch0(w + PrefetchDistance);
                var codes = Vector256.Load(w);
                var codes2 = Vector256.Load(w + 32);
                var left = codes & mask;
                var right = codes2 & mask;
                var x = Word(a);
                low0 += Avx2.MultiplyAddAdjacent(left, x);
                high0 += Avx2.MultiplyAddAdjacent(right, x);
                x = Word(a + 4);
                low1 += Avx2.MultiplyAddAdjacent(left, x);
                high1 += Avx2.MultiplyAddAdjacent(right, x);
                x = Word(a + 8);
                low2 += Avx2.MultiplyAddAdjacent(left, x);
                high2 += Avx2.MultiplyAddAdjacent(right, x);
                left = Upper(codes) & mask;
                right = Upper(codes2) & mask;
                x = Word(a + 12);
                low0 += Avx2.MultiplyAddAdjacent(left, x);
                high0 += Avx2.MultiplyAddAdjacent(right, x);
                x = Word(a + 16);
                low1 += Avx2.MultiplyAddAdjacent(left, x);
                high1 += Avx2.MultiplyAddAdjacent(right, x);
                x = Word(a + 20);
                low2 += Avx2.MultiplyAddAdjacent(left, x);
                high2 += Avx2.MultiplyAddAdjacent(right, x);
            }
            var first = Vector256.Create((((start[0] << 8) + start[1]) << 8) + start[2]);
            var scale = Vector256.Create(*rowScales);
            totalLow = Fma.MultiplyAdd(Avx.ConvertToVector256Single(Join(low0, low1, low2) + first), Vector256.Load(weightScales) * scale, totalLow);
            totalHigh = Fma.MultiplyAdd(Avx.ConvertToVector256Single(Join(high0, high1, high2) + first), Vector256.Load(weightScales + 8) * scale, totalHigh);
        }
        totalLow.Store((float*)args->Result);
        totalHigh.Store((float*)args->Result + 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Join(Vector256<short> high, Vector256<short> middle, Vector256<short> low) =>
        ((Avx2.MultiplyAddAdjacent(high, Vector256.Create((short)256)) + Widen(middle)) << 8) + Widen(low);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<int> Widen(Vector256<short> sums) => Avx2.MultiplyAddAdjacent(sums, Vector256.Create((short)1));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<byte> Upper(Vector256<byte> codes) => Avx2.ShiftRightLogical(codes.AsUInt16(), 4).AsByte();

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<sbyte> Word(byte* a) => Avx2.BroadcastScalarToVector256((int*)a).AsSByte();
}
