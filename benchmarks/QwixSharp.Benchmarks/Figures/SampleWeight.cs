using QwixSharp.Kernels.Weights;

namespace QwixSharp.Benchmarks.Figures;

/// <summary>A quantized weight [n, k] that ours and the peers get alike: codes, and scales that half precision holds exactly.</summary>
internal sealed unsafe class SampleWeight
{
    private const int PoolSize = 1 << 20;

    private static readonly float[] Nf4 =
    [
        -1.0f, -0.6961928f, -0.52507305f, -0.3949175f, -0.28444138f, -0.18477343f, -0.091050036f, 0f,
        0.0795803f, 0.1609302f, 0.2461123f, 0.33791524f, 0.44070983f, 0.5626170f, 0.72295684f, 1f,
    ];

    private static readonly float[] E4M3 = [.. Enumerable.Range(0, 256).Select(Fp8)];

    private readonly int _bits;
    private readonly float[]? _table;

    private SampleWeight(int n, int k, int tile, int bits, Func<Random, sbyte> code, float[]? table = null)
    {
        (N, K, Tile, _bits, _table) = (n, k, tile, bits, table);
        var random = new Random(7);
        var pool = new sbyte[PoolSize];
        for (var i = 0; i < pool.Length; i++)
            pool[i] = code(random);
        Codes = new sbyte[(long)n * k];
        for (var row = 0; row < n; row++)
            pool.AsSpan(random.Next(PoolSize - k), k).CopyTo(Codes.AsSpan(row * k, k));
        Scales = new float[n * Tiles];
        for (var i = 0; i < Scales.Length; i++)
            Scales[i] = (float)(Half)((1 + random.NextDouble()) * 0.001);
    }

    public int N { get; }

    public int K { get; }

    public int Tile { get; }

    public int Tiles => K / Tile;

    /// <summary>[n, k].</summary>
    public sbyte[] Codes { get; }

    /// <summary>[n, tiles].</summary>
    public float[] Scales { get; }

    /// <summary>Codes of values with a bell-shaped distribution whose largest of many lies at the end of the range.</summary>
    public static SampleWeight Gaussian(int n, int k, int tile, int bits)
    {
        double highest = (1 << (bits - 1)) - 1, deviation = (highest + 0.5) / (bits == 8 ? 4 : 2.5);
        return new(n, k, tile, bits, random =>
        {
            var value = deviation * Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
            return (sbyte)Math.Clamp(Math.Round(value), -highest - 1, highest);
        });
    }

    /// <summary>int8 codes that are all equally likely.</summary>
    public static SampleWeight Uniform(int n, int k) => new(n, k, k, 8, random => (sbyte)random.Next(-128, 128));

    /// <summary>Codes of nf4.</summary>
    public static SampleWeight NormalFloat(int n, int k, int tile) => new(n, k, tile, 4, random => (sbyte)random.Next(16), Nf4);

    /// <summary>Codes of e4m3, normal numbers.</summary>
    public static SampleWeight Float8(int n, int k) => new(n, k, k, 8, random => (sbyte)(random.Next(2) * 128 + random.Next(8, 120)), E4M3);

    /// <summary>The number of an element, before its scale.</summary>
    public float Number(int row, int column)
    {
        var code = Codes[(long)row * K + column];
        return _table is null ? code : _table[(byte)code];
    }

    /// <summary>The scale of an element.</summary>
    public float Scale(int row, int column) => Scales[row * Tiles + column / Tile];

    /// <summary>In the kernels' layout.</summary>
    public PackedWeight Pack(int threads)
    {
        fixed (sbyte* codes = Codes)
        fixed (float* scales = Scales)
        {
            if (_table is null)
                return PackedWeight.FromIntegers(codes, scales, N, K, Tile, _bits, threads);
            return _bits == 4
                ? PackedWeight.FromCodebook((byte*)codes, paired: false, _table, scales, N, K, Tile, threads)
                : PackedWeight.FromTable((byte*)codes, _table, scales, N, K, Tile, threads);
        }
    }

    /// <summary>[n, k] float32.</summary>
    public float[] Dequantize()
    {
        var values = new float[Codes.LongLength];
        for (var row = 0; row < N; row++)
            for (var column = 0; column < K; column++)
                values[(long)row * K + column] = Number(row, column) * Scale(row, column);
        return values;
    }

    private static float Fp8(int code)
    {
        var exponent = (code & 0x7F) >> 3;
        var fraction = (code & 7) / 8.0;
        var magnitude = exponent == 0 ? fraction * Math.ScaleB(1, -6) : (1 + fraction) * Math.ScaleB(1, exponent - 7);
        return (code & 0x7F) == 0x7F ? float.NaN : (float)(code >= 128 ? -magnitude : magnitude);
    }
}
