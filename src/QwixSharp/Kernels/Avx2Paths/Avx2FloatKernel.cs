using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using QwixSharp.Kernels.Assembled;
using QwixSharp.Kernels.Weights;
using Fused = System.Runtime.Intrinsics.X86.Fma;
using Simd = System.Runtime.Intrinsics.X86.Avx2;

namespace QwixSharp.Kernels.Avx2Paths;

/// <summary>
/// Weight-only products with AVX2 and FMA. One row multiplies each decoded number at once; for more rows, blocks of K are
/// decoded into a buffer that all rows read.
/// </summary>
/// <param name="isAssembled">Whether the loops of many rows are assembled at run time.</param>
internal sealed unsafe class Avx2FloatKernel(bool isAssembled) : FloatKernel
{
    private const int Columns = PackedWeight.PanelColumns;

    /// <summary>The values of K that are decoded at a time for large blocks: 16 KB of numbers.</summary>
    private const int BufferedDepth = 256;

    private const int ManyPanels = 64;

    /// <inheritdoc/>
    public override string Name => isAssembled ? "avx2 (assembled)" : "avx2";

    /// <inheritdoc/>
    public override bool IsSupported => isAssembled ? AssembledMachine.IsAvailable : Simd.IsSupported && Fused.IsSupported;

    /// <inheritdoc/>
    public override bool Serves(PackedWeight weight) => true;

    /// <inheritdoc/>
    /// <remarks>What is decoded serves a block. Where there are few panels, threads share out rows as well.</remarks>
    public override int MaxRows(PackedWeight weight, int rows) => isAssembled ? (weight.Panels < ManyPanels ? 10 : 22) * FloatRowsEmitter.MostRows : 24;

    /// <inheritdoc/>
    public override int RowsTogether => isAssembled ? FloatRowsEmitter.MostRows : int.MaxValue;

    /// <inheritdoc/>
    /// <remarks>A block is of one row where the product is: blocks are about equally high.</remarks>
    public override int MissingExponent(PackedWeight weight, int rows) => (rows, weight.Format) switch
    {
        (1, CodeFormat.Int8) => OneRowSums.Int8Exponent,
        (1, CodeFormat.Table8) when weight.Fp8Shift != 0 => Fp8Layout.Exponent(weight.Fp8Shift),
        _ => 0,
    };

    /// <inheritdoc/>
    public override int RowExponent(PackedWeight weight) => weight.Format == CodeFormat.Table8 ? Fp8Layout.RowExponent : 0;

    /// <inheritdoc/>
    /// <remarks>More rows add up what was decoded at a time. One row has two to four sums that take turns.</remarks>
    protected override int MostAtOnce(PackedWeight weight, int rows) => rows > 1 ? int.MaxValue : weight.Format == CodeFormat.Int8 || weight.Fp8Shift != 0 ? 4096 : 1024;

    /// <inheritdoc/>
    protected override void RunPart(FloatTileArgs* args, PackedWeight weight, int rows, int panels)
    {
        switch (weight.Format)
        {
            case CodeFormat.Int8 when rows == 1:
                OneRowSums.Int8(args);
                break;
            case CodeFormat.Table8 when rows == 1 && weight.Fp8Shift == E4M3.Shift:
                OneRowSums.Fp8<E4M3>(args);
                break;
            case CodeFormat.Table8 when rows == 1 && weight.Fp8Shift == E5M2.Shift:
                OneRowSums.Fp8<E5M2>(args);
                break;
            case CodeFormat.Codebook4 when rows == 1:
                CodebookRow.Sum(args);
                break;
            case CodeFormat.Int8:
                Run<Int8Decoder>(args, rows);
                break;
            case CodeFormat.Int4:
                Run<Int4Decoder>(args, rows);
                break;
            case CodeFormat.Codebook4:
                Run<HalfByteDecoder>(args, rows);
                break;
            case CodeFormat.Table8 when weight.Fp8Shift == E4M3.Shift:
                Run<Fp8Decoder<E4M3>>(args, rows);
                break;
            case CodeFormat.Table8 when weight.Fp8Shift == E5M2.Shift:
                Run<Fp8Decoder<E5M2>>(args, rows);
                break;
            default:
                Run<TableDecoder>(args, rows);
                break;
        }
    }

    [SkipLocalsInit]
    private void Run<TDecoder>(FloatTileArgs* args, int rows)
        where TDecoder : struct, IDecoder
    {
        if (rows == 1)
        {
            OneRow<TDecoder>(args);
            return;
        }
        var room = stackalloc float[BufferedDepth * Columns + Columns];
        var numbers = (float*)AlignedMemory.RoundUp(room);
        new Span<float>(args->Result, rows * Columns).Clear();
        var codes = args->Weights;
        var scales = args->WeightScales;
        nint groupsAtOnce = BufferedDepth / TDecoder.Values;
        var (left, leftInTile) = (args->Tiles * args->Groups, args->Groups);
        var first = 0;
        while (left > 0)
        {
            var groups = left < groupsAtOnce ? left : groupsAtOnce;
            // Short tiles are decoded one after the other, and multiplied together.
            for (nint decoded = 0; decoded < groups;)
            {
                var count = leftInTile < groups - decoded ? leftInTile : groups - decoded;
                DecodeGroups<TDecoder>(codes, count, args->Table, scales, numbers + decoded * TDecoder.Values * Columns);
                codes += count * 64;
                decoded += count;
                leftInTile -= count;
                if (leftInTile == 0)
                {
                    leftInTile = args->Groups;
                    scales += Columns;
                }
            }
            var depth = (int)groups * TDecoder.Values;
            Multiply(numbers, first, depth, args->Tiles * args->Groups * TDecoder.Values, args->Activations, rows, args->Result);
            first += depth;
            left -= groups;
        }
    }

    private void Multiply(float* numbers, int first, int depth, nint wholeDepth, float* x, int rows, float* sums)
    {
        if (isAssembled)
        {
            FloatRowsCode.Run(numbers, first, depth, x, wholeDepth, rows, sums);
            return;
        }
        x += (nint)first * rows;
        for (var row = 0; row < rows;)
            row += MultiplyRows(numbers, depth, x + row, rows, rows - row, sums + row * Columns);
    }

    private static int MultiplyRows(float* numbers, int depth, float* x, int step, int rows, float* sums)
    {
        if (rows >= 6)
        {
            FloatSums.Six(numbers, depth, x, step, sums);
            return 6;
        }
        if (rows >= 2)
        {
            FloatSums.Two(numbers, depth, x, step, sums);
            return 2;
        }
        FloatSums.One(numbers, depth, x, step, sums);
        return 1;
    }

    /// <summary>Half byte 2j of a word belongs to k+j, half byte 2j+1 to k+4+j; byte j to k+j.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Place<TDecoder>(int value)
        where TDecoder : struct, IDecoder => TDecoder.Values == 8 ? value / 2 + value % 2 * 4 : value;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void DecodeGroups<TDecoder>(byte* codes, nint groups, float* table, float* scales, float* numbers)
        where TDecoder : struct, IDecoder
    {
        var low = Vector256.Load(scales);
        var high = Vector256.Load(scales + 8);
        // While this part of the panel is multiplied, the next comes.
        var next = BufferedDepth / TDecoder.Values * 64;
        for (; groups > 0; groups--, codes += 64, numbers += TDecoder.Values * Columns)
        {
            Sse.Prefetch0(codes + next);
            var left = Vector256.Load((int*)codes);
            var right = Vector256.Load((int*)codes + 8);
            // Written out: the compiler does not unroll eight, and then computes places and shifts.
            DecodeValue<TDecoder>(left, right, 0, table, low, high, numbers);
            DecodeValue<TDecoder>(left, right, 1, table, low, high, numbers);
            DecodeValue<TDecoder>(left, right, 2, table, low, high, numbers);
            DecodeValue<TDecoder>(left, right, 3, table, low, high, numbers);
            if (TDecoder.Values == 4)
                continue;
            DecodeValue<TDecoder>(left, right, 4, table, low, high, numbers);
            DecodeValue<TDecoder>(left, right, 5, table, low, high, numbers);
            DecodeValue<TDecoder>(left, right, 6, table, low, high, numbers);
            DecodeValue<TDecoder>(left, right, 7, table, low, high, numbers);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void DecodeValue<TDecoder>(Vector256<int> left, Vector256<int> right, int value, float* table, Vector256<float> low, Vector256<float> high, float* numbers)
        where TDecoder : struct, IDecoder
    {
        var target = numbers + Place<TDecoder>(value) * Columns;
        (TDecoder.Decode(left, value, table) * low).Store(target);
        (TDecoder.Decode(right, value, table) * high).Store(target + 8);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void OneRow<TDecoder>(FloatTileArgs* args)
        where TDecoder : struct, IDecoder
    {
        var codes = args->Weights;
        var x = args->Activations;
        var table = args->Table;
        var totalLow = Vector256<float>.Zero;
        var totalHigh = totalLow;
        for (nint tile = 0; tile < args->Tiles; tile++)
        {
            var low = Vector256<float>.Zero;
            var high = low;
            var low2 = low;
            var high2 = low;
            for (nint group = 0; group < args->Groups; group++, codes += 64, x += TDecoder.Values)
            {
                var left = Vector256.Load((int*)codes);
                var right = Vector256.Load((int*)codes + 8);
                for (var value = 0; value < TDecoder.Values; value += 2)
                {
                    var v = Vector256.Create(x[Place<TDecoder>(value)]);
                    low = Fused.MultiplyAdd(TDecoder.Decode(left, value, table), v, low);
                    high = Fused.MultiplyAdd(TDecoder.Decode(right, value, table), v, high);
                    v = Vector256.Create(x[Place<TDecoder>(value + 1)]);
                    low2 = Fused.MultiplyAdd(TDecoder.Decode(left, value + 1, table), v, low2);
                    high2 = Fused.MultiplyAdd(TDecoder.Decode(right, value + 1, table), v, high2);
                }
            }
            totalLow = Fused.MultiplyAdd(low + low2, Vector256.Load(args->WeightScales + tile * Columns), totalLow);
            totalHigh = Fused.MultiplyAdd(high + high2, Vector256.Load(args->WeightScales + tile * Columns + 8), totalHigh);
        }
        totalLow.Store(args->Result);
        totalHigh.Store(args->Result + 8);
    }
}
