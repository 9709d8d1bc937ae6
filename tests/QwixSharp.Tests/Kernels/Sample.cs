using QwixSharp.Kernels;
using QwixSharp.Kernels.Portable;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Tests.Kernels;

/// <summary>A random quantized weight with its codes, for comparison with plain arithmetic.</summary>
internal sealed unsafe class Sample : IDisposable
{
    public static readonly float[] Nf4 =
    [
        -1.0f, -0.6961928f, -0.52507305f, -0.3949175f, -0.28444138f, -0.18477343f, -0.091050036f, 0f,
        0.0795803f, 0.1609302f, 0.2461123f, 0.33791524f, 0.44070983f, 0.5626170f, 0.72295684f, 1f,
    ];

    public static readonly float[] E4M3 = [.. Enumerable.Range(0, 256).Select(code => Fp8(code, mantissaBits: 3, bias: 7, isE4M3: true))];
    public static readonly float[] E2M1 = [0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0f, -0.5f, -1, -1.5f, -2, -3, -4, -6];
    public static readonly float[] E5M2 = [.. Enumerable.Range(0, 256).Select(code => Fp8(code, mantissaBits: 2, bias: 15, isE4M3: false))];

    public required PackedWeight Packed { get; init; }
    public required int N { get; init; }
    public required int K { get; init; }
    public required int Tile { get; init; }
    public required sbyte[] Codes { get; init; }
    public required float[] Scales { get; init; }
    public float[]? Table { get; init; }

    public int Tiles => (K + Tile - 1) / Tile;

    public float Number(int n, int k) => Table is null ? Codes[n * K + k] : Table[(byte)Codes[n * K + k]];

    public float Scale(int n, int k) => Scales[n * Tiles + k / Tile];

    /// <summary>The whole weight in double precision.</summary>
    public double[] Dequantize()
    {
        var values = new double[N * K];
        for (var n = 0; n < N; n++)
            for (var k = 0; k < K; k++)
                values[n * K + k] = (double)Number(n, k) * Scale(n, k);
        return values;
    }

    /// <summary>A kernel, and a plain one for what it does not serve.</summary>
    public static KernelSelector Pinned(IntegerKernel kernel) => new(kernel.IsGeneral ? [kernel] : [kernel, new PortableIntegerKernel()], []);

    public static Sample Integers(Random random, int n, int k, int tile, int bits, string pattern = "any")
    {
        var low = -(1 << (bits - 1));
        var codes = new sbyte[n * k];
        for (var i = 0; i < codes.Length; i++)
            codes[i] = (sbyte)(pattern switch
            {
                "lowest" => low,
                "highest" => -low - 1,
                "extremes" => random.Next(2) == 0 ? low : -low - 1,
                _ => random.Next(low, -low),
            });
        return Integers(random, codes, n, k, tile, bits);
    }

    public static Sample Integers(Random random, sbyte[] codes, int n, int k, int tile, int bits)
    {
        var scales = RandomScales(random, n, k, tile);
        fixed (sbyte* c = codes)
        fixed (float* s = scales)
            return new Sample { Packed = PackedWeight.FromIntegers(c, s, n, k, tile, bits), N = n, K = k, Tile = tile, Codes = codes, Scales = scales };
    }

    public static Sample Codebook(Random random, int n, int k, int tile, float[] table, float[]? ownScales = null)
    {
        var codes = RandomBytes(random, n * k, 16);
        var scales = ownScales ?? RandomScales(random, n, k, tile);
        fixed (sbyte* c = codes)
        fixed (float* s = scales)
            return new Sample
            {
                Packed = PackedWeight.FromCodebook((byte*)c, paired: false, table, s, n, k, tile),
                N = n,
                K = k,
                Tile = tile,
                Codes = codes,
                Scales = scales,
                Table = table,
            };
    }

    public static Sample Bytes(Random random, int n, int k, int tile, float[] table, float[]? ownScales = null)
    {
        var codes = RandomBytes(random, n * k, 256);
        for (var i = 0; i < codes.Length; i++)
            if (!float.IsFinite(table[(byte)codes[i]]))
                codes[i] = 0x11;
        var scales = ownScales ?? RandomScales(random, n, k, tile);
        fixed (sbyte* c = codes)
        fixed (float* s = scales)
            return new Sample
            {
                Packed = PackedWeight.FromTable((byte*)c, table, s, n, k, tile),
                N = n,
                K = k,
                Tile = tile,
                Codes = codes,
                Scales = scales,
                Table = table,
            };
    }

    public static float[] Floats(Random random, int count, float size = 1) =>
        [.. Enumerable.Range(0, count).Select(_ => (float)((random.NextDouble() * 2 - 1) * size))];

    /// <summary>The scales of mxfp8 and mxfp4, far apart within a row.</summary>
    public static float[] PowersOfTwo(Random random, int n, int k, int tile) =>
        [.. Enumerable.Range(0, n * ((k + tile - 1) / tile)).Select(_ => MathF.ScaleB(1, random.Next(-40, 12)))];

    /// <summary>The scales of nvfp4: positive numbers of e4m3, the smallest of which are subnormal.</summary>
    public static float[] SmallFloats(Random random, int n, int k, int tile) =>
        [.. Enumerable.Range(0, n * ((k + tile - 1) / tile)).Select(_ => E4M3[random.Next(1, 127)])];

    public void Dispose() => Packed.Dispose();

    /// <summary>Scales of float32, or rounded to float16 or bfloat16, which the weight then stores in 16 bits.</summary>
    private static float[] RandomScales(Random random, int n, int k, int tile)
    {
        var format = random.Next(3);
        float[] scales = [.. Enumerable.Range(0, n * ((k + tile - 1) / tile)).Select(_ => Round(0.01f + (float)random.NextDouble(), format))];
        // Below what float16 holds, as its range holds all numbers of bfloat16 that are near 1.
        if (format == 2 && scales.Length > 0)
            scales[0] = MathF.ScaleB(1, -26);
        return scales;

        static float Round(float scale, int format) => format switch
        {
            0 => scale,
            1 => (float)(Half)scale,
            _ => BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits(scale) & 0xFFFF0000),
        };
    }

    private static sbyte[] RandomBytes(Random random, int count, int limit) =>
        [.. Enumerable.Range(0, count).Select(_ => (sbyte)(byte)random.Next(limit))];

    private static float Fp8(int code, int mantissaBits, int bias, bool isE4M3)
    {
        var sign = (code & 0x80) != 0 ? -1.0 : 1.0;
        var exponent = (code & 0x7F) >> mantissaBits;
        var mantissa = code & ((1 << mantissaBits) - 1);
        var highest = (0x7F >> mantissaBits);
        if (isE4M3 ? (code & 0x7F) == 0x7F : exponent == highest && mantissa != 0)
            return float.NaN;
        if (!isE4M3 && exponent == highest)
            return (float)(sign * double.PositiveInfinity);
        var fraction = mantissa / (double)(1 << mantissaBits);
        return (float)(sign * (exponent == 0 ? fraction * Math.ScaleB(1, 1 - bias) : (1 + fraction) * Math.ScaleB(1, exponent - bias)));
    }
}
