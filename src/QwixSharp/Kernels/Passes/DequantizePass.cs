using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace QwixSharp.Kernels.Passes;

/// <summary>Codes back to float32 in one pass.</summary>
internal static unsafe class DequantizePass
{
    /// <summary>y = (code − zero point) · scale.</summary>
    /// <param name="codes">[rows, columns].</param>
    /// <param name="shape">The sizes.</param>
    /// <param name="scales">[rows, tiles].</param>
    /// <param name="zeroPoints">[rows, tiles], or null for 0.</param>
    /// <param name="y">[rows, columns], the result.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void Integers(sbyte* codes, RowShape shape, float* scales, int* zeroPoints, float* y, int threads)
    {
        shape.Check();
        RowsJob.Run(shape.Rows, shape.Columns, threads, row =>
        {
            for (var tile = 0L; tile < shape.Tiles; tile++)
            {
                var from = row * shape.Columns + tile * shape.TileSize;
                var scale = row * shape.Tiles + tile;
                Tile(codes + from, shape.Length(tile), scales[scale], zeroPoints == null ? 0 : zeroPoints[scale], y + from);
            }
        });
    }

    /// <summary>y = table[code] · scale.</summary>
    /// <param name="codes">[rows, columns], each below the table's length.</param>
    /// <param name="shape">The sizes.</param>
    /// <param name="table">The numbers of the codes.</param>
    /// <param name="scales">[rows, tiles].</param>
    /// <param name="y">[rows, columns], the result.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void Table(byte* codes, RowShape shape, float* table, float* scales, float* y, int threads)
    {
        shape.Check();
        RowsJob.Run(shape.Rows, shape.Columns, threads, row =>
        {
            for (var tile = 0L; tile < shape.Tiles; tile++)
            {
                var from = row * shape.Columns + tile * shape.TileSize;
                var scale = scales[row * shape.Tiles + tile];
                for (var i = from; i < from + shape.Length(tile); i++)
                    y[i] = table[codes[i]] * scale;
            }
        });
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Tile(sbyte* codes, long count, float scale, int zeroPoint, float* y)
    {
        var i = 0L;
        if (Avx2.IsSupported)
        {
            var s = Vector256.Create(scale);
            var z = Vector256.Create(zeroPoint);
            for (; i + 8 <= count; i += 8)
                (Avx.ConvertToVector256Single(Avx2.ConvertToVector256Int32(codes + i) - z) * s).Store(y + i);
        }
        for (; i < count; i++)
            y[i] = (codes[i] - zeroPoint) * scale;
    }
}
