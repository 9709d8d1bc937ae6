using System.Runtime.InteropServices;
using QwixSharp.Kernels;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Benchmarks.Products;

/// <summary>Our products of one shape, with random weights.</summary>
internal sealed unsafe class OurProducts : IDisposable
{
    private readonly List<PackedWeight> _weights = [];
    private readonly float* _x;
    private readonly float* _y;
    private readonly int _m, _k, _n, _threads;

    public OurProducts(int m, int k, int n, float[] x, int threads)
    {
        (_m, _k, _n, _threads) = (m, k, n, threads);
        _x = (float*)NativeMemory.AlignedAlloc((nuint)x.Length * sizeof(float), 64);
        _y = (float*)NativeMemory.AlignedAlloc((nuint)m * (nuint)n * sizeof(float), 64);
        x.CopyTo(new Span<float>(_x, x.Length));
    }

    /// <summary>Integer codes, activations quantized inside.</summary>
    public Action Dynamic(int bits, int tile, KernelSelector? selector = null)
    {
        var weight = Integers(bits, tile);
        return () => MatMul.Dynamic(_x, _k, _m, weight, new((nint)_y, _n), _threads, selector: selector);
    }

    /// <summary>Integer codes, float32 activations.</summary>
    public Action WeightOnly(int bits, int tile)
    {
        var weight = Integers(bits, tile);
        return () => MatMul.WeightOnly(_x, _k, _m, weight, new((nint)_y, _n), _threads);
    }

    /// <summary>Codes of a table of 16 or 256 numbers, float32 activations.</summary>
    public Action WeightOnly(float[] table, int tile)
    {
        var codes = new byte[(long)_n * _k];
        var random = new Random(1);
        for (var i = 0; i < codes.Length; i++)
            codes[i] = (byte)(table.Length == 16 ? random.Next(16) : random.Next(2) * 128 + random.Next(8, 120));
        var scales = Scales(tile);
        fixed (byte* c = codes)
        fixed (float* s = scales)
        {
            var weight = table.Length == 16
                ? PackedWeight.FromCodebook(c, paired: false, table, s, _n, _k, tile, _threads)
                : PackedWeight.FromTable(c, table, s, _n, _k, tile, _threads);
            _weights.Add(weight);
            return () => MatMul.WeightOnly(_x, _k, _m, weight, new((nint)_y, _n), _threads);
        }
    }

    public void Dispose()
    {
        _weights.ForEach(w => w.Dispose());
        NativeMemory.AlignedFree(_x);
        NativeMemory.AlignedFree(_y);
    }

    private PackedWeight Integers(int bits, int tile)
    {
        var codes = new sbyte[(long)_n * _k];
        var random = new Random(1);
        for (var i = 0; i < codes.Length; i++)
            codes[i] = (sbyte)random.Next(-(1 << (bits - 1)), 1 << (bits - 1));
        var scales = Scales(tile);
        fixed (sbyte* c = codes)
        fixed (float* s = scales)
        {
            var weight = PackedWeight.FromIntegers(c, s, _n, _k, tile, bits, _threads);
            _weights.Add(weight);
            return weight;
        }
    }

    private float[] Scales(int tile)
    {
        var random = new Random(2);
        var scales = new float[_n * ((_k + tile - 1) / tile)];
        for (var i = 0; i < scales.Length; i++)
            scales[i] = (float)random.NextDouble() * 0.1f;
        return scales;
    }
}
