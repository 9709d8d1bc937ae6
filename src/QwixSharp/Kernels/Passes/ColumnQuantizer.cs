using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels.Passes;

/// <summary>Quantizes columns of a matrix, with a scale each or one a tile, and writes their codes as rows.</summary>
/// <param name="values">[depth, columns].</param>
/// <param name="factors">[depth], what each row is multiplied by before; or null.</param>
/// <param name="shape">Its rows are the columns of the values, its columns their depth.</param>
/// <param name="range">The codes' range.</param>
/// <param name="codes">[columns, depth], the result.</param>
/// <param name="scales">[columns, tiles], the result.</param>
internal readonly unsafe struct ColumnQuantizer(float* values, float* factors, RowShape shape, CodeRange range, sbyte* codes, float* scales)
{
    /// <summary>How many columns are quantized at once: a cache line of values.</summary>
    public const int Width = 16;

    /// <summary>The memory that a thread needs.</summary>
    /// <param name="depth">The length of a column.</param>
    public static long ScratchBytes(long depth) => 2 * Width * ((depth + 3) / 4 * 4);

    /// <summary>Quantizes up to <see cref="Width"/> columns.</summary>
    /// <param name="first">The first column, a multiple of the width.</param>
    /// <param name="scratch">Memory of <see cref="ScratchBytes"/>.</param>
    public void Quantize(long first, byte* scratch)
    {
        var count = (int)Math.Min(Width, shape.Rows - first);
        var lying = (sbyte*)scratch;
        var standing = scratch + Width * shape.Columns;
        var scale = stackalloc float[Width];
        for (var tile = 0L; tile < shape.Tiles; tile++)
        {
            var (start, end) = (tile * shape.TileSize, tile * shape.TileSize + shape.Length(tile));
            Calibrate(first, count, start, end, scale);
            for (var column = 0; column < count; column++)
                scales[(first + column) * shape.Tiles + tile] = scale[column];
            for (var k = start; k < end; k++)
                QuantizeRow(values + k * shape.Rows + first, count, factors == null ? 1 : factors[k], scale, lying + k * Width);
        }
        PanelWriter.Columnwise(lying, Width, Width, shape.Columns, standing);
        for (var column = 0; column < count; column++)
            Copy((int*)standing + column, codes + (first + column) * shape.Columns);
    }

    /// <summary>The scales of the columns over some rows.</summary>
    private void Calibrate(long first, int count, long start, long end, float* scale)
    {
        // Magnitudes are compared as integers: the order is the same, and every NaN lies above infinity.
        var largest = stackalloc int[Width];
        new Span<int>(largest, Width).Clear();
        for (var k = start; k < end; k++)
        {
            var x = values + k * shape.Rows + first;
            var factor = factors == null ? 1 : factors[k];
            if (count == Width)
                Largest(x, factor, largest);
            else
                for (var column = 0; column < count; column++)
                    largest[column] = Math.Max(largest[column], BitConverter.SingleToInt32Bits(x[column] * factor) & int.MaxValue);
        }
        for (var column = 0; column < Width; column++)
            scale[column] = RowQuantizer.Scale(BitConverter.Int32BitsToSingle(largest[column]), range);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Largest(float* x, float factor, int* largest)
    {
        var f = Vector256.Create(factor);
        var mask = Vector256.Create(int.MaxValue);
        for (var i = 0; i < Width; i += 8)
            Vector256.Max(Vector256.Load(largest + i), (Vector256.Load(x + i) * f).AsInt32() & mask).Store(largest + i);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void QuantizeRow(float* x, int count, float factor, float* scale, sbyte* result)
    {
        float lowest = range.Lowest, highest = range.Highest;
        if (Avx2.IsSupported && count == Width)
        {
            var f = Vector256.Create(factor);
            var low = Vector256.Create(lowest);
            var high = Vector256.Create(highest);
            var v = Avx.Max(Avx.Min(Vector256.Load(x) * f / Vector256.Load(scale), high), low);
            var w = Avx.Max(Avx.Min(Vector256.Load(x + 8) * f / Vector256.Load(scale + 8), high), low);
            var words = Avx2.PackSignedSaturate(Avx.ConvertToVector256Int32(v), Avx.ConvertToVector256Int32(w));
            words = Avx2.Permute4x64(words.AsInt64(), 0b11_01_10_00).AsInt16();
            Sse2.PackSignedSaturate(words.GetLower(), words.GetUpper()).Store(result);
            return;
        }
        for (var column = 0; column < count; column++)
        {
            var rounded = MathF.Round(x[column] * factor / scale[column], MidpointRounding.ToEven);
            result[column] = (sbyte)(int)MathF.Min(MathF.Max(rounded, lowest), highest);
        }
    }

    /// <summary>One column out of groups [depth / 4][16][4].</summary>
    private void Copy(int* standing, sbyte* row)
    {
        var k = 0L;
        for (; k + 4 <= shape.Columns; k += 4, standing += Width)
            *(int*)(row + k) = *standing;
        for (var i = 0; k + i < shape.Columns; i++)
            row[k + i] = ((sbyte*)standing)[i];
    }
}
