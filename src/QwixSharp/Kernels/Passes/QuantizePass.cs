using QwixSharp.Kernels.Activations;

namespace QwixSharp.Kernels.Passes;

/// <summary>Quantization of float32 rows in one pass over memory: a tile is calibrated and quantized while it is in the cache.</summary>
internal static unsafe class QuantizePass
{
    /// <summary>Symmetric absmax quantization, bit for bit as <see cref="RowQuantizer"/> describes.</summary>
    /// <param name="x">[rows, columns].</param>
    /// <param name="shape">The sizes.</param>
    /// <param name="range">The codes' range.</param>
    /// <param name="codes">[rows, columns], the result.</param>
    /// <param name="scales">[rows, tiles], the result.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void AbsMax(float* x, RowShape shape, CodeRange range, sbyte* codes, float* scales, int threads)
    {
        shape.Check();
        RowsJob.Run(shape.Rows, shape.Columns, threads, row =>
        {
            for (var tile = 0L; tile < shape.Tiles; tile++)
            {
                var from = row * shape.Columns + tile * shape.TileSize;
                var scale = RowQuantizer.Scale(RowQuantizer.AbsMax(x + from, shape.Length(tile)), range);
                scales[row * shape.Tiles + tile] = scale;
                RowQuantizer.Quantize(x + from, shape.Length(tile), scale, 0, range, codes + from);
            }
        });
    }

    /// <summary>Asymmetric minmax quantization: ranges are made to include 0.</summary>
    /// <param name="x">[rows, columns].</param>
    /// <param name="shape">The sizes.</param>
    /// <param name="range">The codes' range.</param>
    /// <param name="codes">[rows, columns], the result.</param>
    /// <param name="scales">[rows, tiles], the result.</param>
    /// <param name="zeroPoints">[rows, tiles], the result.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void MinMax(float* x, RowShape shape, CodeRange range, sbyte* codes, float* scales, int* zeroPoints, int threads)
    {
        shape.Check();
        RowsJob.Run(shape.Rows, shape.Columns, threads, row =>
        {
            for (var tile = 0L; tile < shape.Tiles; tile++)
            {
                var from = row * shape.Columns + tile * shape.TileSize;
                var (min, max) = RowQuantizer.MinMax(x + from, shape.Length(tile));
                var (scale, zeroPoint) = RowQuantizer.ScaleAndZeroPoint(min, max, range);
                scales[row * shape.Tiles + tile] = scale;
                zeroPoints[row * shape.Tiles + tile] = zeroPoint;
                RowQuantizer.Quantize(x + from, shape.Length(tile), scale, zeroPoint, range, codes + from);
            }
        });
    }

    /// <summary>Quantization with scales known before.</summary>
    /// <param name="x">[rows, columns].</param>
    /// <param name="shape">The sizes.</param>
    /// <param name="scales">[rows, tiles].</param>
    /// <param name="zeroPoints">[rows, tiles], or null for 0.</param>
    /// <param name="range">The codes' range.</param>
    /// <param name="codes">[rows, columns], the result.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void WithScales(float* x, RowShape shape, float* scales, int* zeroPoints, CodeRange range, sbyte* codes, int threads)
    {
        shape.Check();
        RowsJob.Run(shape.Rows, shape.Columns, threads, row =>
        {
            for (var tile = 0L; tile < shape.Tiles; tile++)
            {
                var from = row * shape.Columns + tile * shape.TileSize;
                var scale = row * shape.Tiles + tile;
                RowQuantizer.Quantize(x + from, shape.Length(tile), scales[scale], zeroPoints == null ? 0 : zeroPoints[scale], range, codes + from);
            }
        });
    }
}
