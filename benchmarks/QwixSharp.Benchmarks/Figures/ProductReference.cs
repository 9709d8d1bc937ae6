namespace QwixSharp.Benchmarks.Figures;

/// <summary>Checks products against plain arithmetic on some of their elements.</summary>
/// <param name="x">[m, k].</param>
/// <param name="m">M.</param>
internal sealed class ProductReference(float[] x, int m)
{
    private const int CheckedRows = 4;
    private const int CheckedColumns = 64;

    /// <summary>The error that a sum of scaled tiles may have in float32, relative to the magnitudes summed.</summary>
    private const double TileTolerance = 1e-6;

    /// <summary>What weight-only products promise, relative to the norm of the result.</summary>
    private const double FloatTolerance = 1e-5;

    /// <summary>Peers round activations to 8 bits, some in other groups than ours, or use bfloat16; a wrong layout would be off by far more.</summary>
    private const double PeerTolerance = 0.1;

    /// <summary>Whether a product of int8 activations is exact: equal bit for bit with one scale a channel, within rounding of float32 sums with tiles.</summary>
    public bool IsExact(SampleWeight w, ReadOnlySpan<float> y)
    {
        foreach (var row in CheckedRowNumbers())
        {
            var codes = Quantize(row, w.K, out var scale);
            foreach (var column in CheckedColumnNumbers(w.N))
            {
                if (w.Tiles == 1)
                {
                    if (y[row * w.N + column] != Sum(w, codes, column, 0) * scale * w.Scale(column, 0))
                        return false;
                    continue;
                }
                double expected = 0, magnitude = 0;
                for (var tile = 0; tile < w.Tiles; tile++)
                {
                    var term = (double)Sum(w, codes, column, tile) * scale * w.Scale(column, tile * w.Tile);
                    expected += term;
                    magnitude += Math.Abs(term);
                }
                if (Math.Abs(y[row * w.N + column] - expected) > TileTolerance * magnitude)
                    return false;
            }
        }
        return true;
    }

    /// <summary>Whether a product of float32 activations is as near as weight-only products promise.</summary>
    public bool IsFloatProduct(SampleWeight w, ReadOnlySpan<float> y) => Error(w, y) <= FloatTolerance;

    /// <summary>Whether a peer computed the same product, as well as its own rounding lets it.</summary>
    public bool IsPeerProduct(SampleWeight w, ReadOnlySpan<float> y) => Error(w, y) <= PeerTolerance;

    private static float Sum(SampleWeight w, sbyte[] codes, int column, int tile)
    {
        var sum = 0;
        for (var k = tile * w.Tile; k < (tile + 1) * w.Tile; k++)
            sum += codes[k] * (int)w.Number(column, k);
        return sum;
    }

    private double Error(SampleWeight w, ReadOnlySpan<float> y)
    {
        double error = 0, norm = 0;
        foreach (var row in CheckedRowNumbers())
            foreach (var column in CheckedColumnNumbers(w.N))
            {
                var expected = 0.0;
                for (var k = 0; k < w.K; k++)
                    expected += (double)x[row * w.K + k] * w.Number(column, k) * w.Scale(column, k);
                error += Math.Pow(y[row * w.N + column] - expected, 2);
                norm += expected * expected;
            }
        return Math.Sqrt(error / norm);
    }

    private sbyte[] Quantize(int row, int k, out float scale)
    {
        var values = x.AsSpan(row * k, k);
        var largest = 0f;
        foreach (var value in values)
            largest = MathF.Max(largest, MathF.Abs(value));
        scale = largest / 127.5f;
        var codes = new sbyte[k];
        for (var i = 0; i < k; i++)
            codes[i] = (sbyte)Math.Clamp(MathF.Round(values[i] / scale, MidpointRounding.ToEven), -128, 127);
        return codes;
    }

    private IEnumerable<int> CheckedRowNumbers() => Enumerable.Range(0, Math.Min(m, CheckedRows)).Select(i => i * (m - 1) / Math.Max(1, Math.Min(m, CheckedRows) - 1));

    private static IEnumerable<int> CheckedColumnNumbers(int n) => Enumerable.Range(0, CheckedColumns).Select(i => i * (n - 1) / (CheckedColumns - 1));
}
