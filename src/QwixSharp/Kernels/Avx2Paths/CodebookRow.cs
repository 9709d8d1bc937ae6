using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using QwixSharp.Kernels.Weights;
using Simd = System.Runtime.Intrinsics.X86.Avx2;

namespace QwixSharp.Kernels.Avx2Paths;

/// <summary>One row of float32 times a panel of half bytes that index a table of 16 numbers.</summary>
/// <remarks>
/// <c>vpshufb</c> looks up one byte of the numbers of 32 codes; four such planes of bytes, interleaved twice, are the numbers themselves.
/// That leaves the four values of K of a column side by side, so that sums of them are added up at the end of a tile. Eight columns at a
/// time: four planes of the table, the mask, four sums and seven registers to decode in are all 16.
/// </remarks>
internal static unsafe class CodebookRow
{
    private const int Columns = PackedWeight.PanelColumns;

    /// <summary>The scaled sums of all tiles.</summary>
    /// <param name="args">The operands.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Sum(FloatTileArgs* args)
    {
        var codes = args->Weights;
        var x = args->Activations;
        var scales = args->WeightScales;
        Vector256<byte> plane0 = Plane(args->Table, 0), plane1 = Plane(args->Table, 1), plane2 = Plane(args->Table, 2), plane3 = Plane(args->Table, 3);
        var totalLow = Vector256<float>.Zero;
        var totalHigh = totalLow;
        for (var tile = args->Tiles; tile > 0; tile--, codes += args->Groups * 64, x += args->Groups * 8, scales += Columns)
        {
            totalLow = Fma.MultiplyAdd(EightColumns(codes, x, args->Groups, plane0, plane1, plane2, plane3, readsAhead: true), Vector256.Load(scales), totalLow);
            totalHigh = Fma.MultiplyAdd(EightColumns(codes + 32, x, args->Groups, plane0, plane1, plane2, plane3, readsAhead: false), Vector256.Load(scales + 8), totalHigh);
        }
        totalLow.Store(args->Result);
        totalHigh.Store(args->Result + 8);
    }

    /// <summary>The sums of a tile. The order of its steps is the fastest of many that were timed: it mixes what needs different pipes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> EightColumns(byte* codes, float* x, nint groups, Vector256<byte> plane0, Vector256<byte> plane1, Vector256<byte> plane2, Vector256<byte> plane3, bool readsAhead)
    {
        var mask = Vector256.Create((byte)15);
        Vector256<float> sum0 = default, sum1 = default, sum2 = default, sum3 = default;
        for (; groups > 0; groups--, codes += 64, x += 8)
        {
            if (readsAhead)
                Sse.Prefetch0(codes + OneRowSums.PrefetchDistance);
            var both = Vector256.Load(codes);
            var index = both & mask;
            var byte0 = Simd.Shuffle(plane0, index);
            var byte1 = Simd.Shuffle(plane1, index);
            var byte2 = Simd.Shuffle(plane2, index);
            var byte3 = Simd.Shuffle(plane3, index);
            index = Simd.ShiftRightLogical(both.AsUInt16(), 4).AsByte() & mask;
            var upper23 = Simd.UnpackHigh(byte2, byte3).AsInt16();
            var upper01 = Simd.UnpackLow(byte2, byte3).AsInt16();
            var v = Avx.BroadcastVector128ToVector256(x);
            var lower01 = Simd.UnpackLow(byte0, byte1).AsInt16();
            var lower23 = Simd.UnpackHigh(byte0, byte1).AsInt16();
            sum3 = Fma.MultiplyAdd(Simd.UnpackHigh(lower23, upper23).AsSingle(), v, sum3);
            sum0 = Fma.MultiplyAdd(Simd.UnpackLow(lower01, upper01).AsSingle(), v, sum0);
            byte0 = Simd.Shuffle(plane0, index);
            sum2 = Fma.MultiplyAdd(Simd.UnpackLow(lower23, upper23).AsSingle(), v, sum2);
            byte1 = Simd.Shuffle(plane1, index);
            sum1 = Fma.MultiplyAdd(Simd.UnpackHigh(lower01, upper01).AsSingle(), v, sum1);
            v = Avx.BroadcastVector128ToVector256(x + 4);
            lower01 = Simd.UnpackLow(byte0, byte1).AsInt16();
            lower23 = Simd.UnpackHigh(byte0, byte1).AsInt16();
            byte2 = Simd.Shuffle(plane2, index);
            byte3 = Simd.Shuffle(plane3, index);
            upper23 = Simd.UnpackHigh(byte2, byte3).AsInt16();
            upper01 = Simd.UnpackLow(byte2, byte3).AsInt16();
            sum0 = Fma.MultiplyAdd(Simd.UnpackLow(lower01, upper01).AsSingle(), v, sum0);
            sum2 = Fma.MultiplyAdd(Simd.UnpackLow(lower23, upper23).AsSingle(), v, sum2);
            sum3 = Fma.MultiplyAdd(Simd.UnpackHigh(lower23, upper23).AsSingle(), v, sum3);
            sum1 = Fma.MultiplyAdd(Simd.UnpackHigh(lower01, upper01).AsSingle(), v, sum1);
        }
        return Columnwise(sum0, sum1, sum2, sum3);
    }

    /// <summary>Adds up the four values of each half of four vectors: those of the lower halves, then those of the upper ones.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Columnwise(Vector256<float> sum0, Vector256<float> sum1, Vector256<float> sum2, Vector256<float> sum3)
    {
        var sums01 = (Avx.UnpackLow(sum0, sum1) + Avx.UnpackHigh(sum0, sum1)).AsDouble();
        var sums23 = (Avx.UnpackLow(sum2, sum3) + Avx.UnpackHigh(sum2, sum3)).AsDouble();
        return Avx.UnpackLow(sums01, sums23).AsSingle() + Avx.UnpackHigh(sums01, sums23).AsSingle();
    }

    /// <summary>Byte <paramref name="number"/> of each of 16 numbers, in both halves.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<byte> Plane(float* table, int number) =>
        Vector256.Create(Vector128.Create(FourBytes(table, number), FourBytes(table + 4, number), FourBytes(table + 8, number), FourBytes(table + 12, number)).AsByte());

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint FourBytes(float* table, int number) =>
        Ssse3.Shuffle(Vector128.Load(table).AsByte(), Vector128.Create(0x0C080400 + number * 0x01010101).AsByte()).AsUInt32().ToScalar();
}
