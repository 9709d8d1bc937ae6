using System.Runtime.InteropServices;
using QwixSharp.Kernels;
using QwixSharp.Kernels.Threading;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Benchmarks.Products;

/// <summary>
/// The products of one token of a small language model (SmolLM2-135M): many, each of a few hundred kilobytes, so that what a
/// product costs besides reading its weight shows.
/// </summary>
internal sealed unsafe class SmallProducts : IDisposable
{
    private const int Layers = 30, Width = 576, KeyWidth = 192, Hidden = 1536, Vocabulary = 49152;
    private const int Repeats = 100;

    private readonly List<PackedWeight> _weights = [];
    private readonly ProductPart[] _parts = new ProductPart[3];
    private readonly float* _x = (float*)NativeMemory.AlignedAlloc(Vocabulary * sizeof(float), 64);
    private readonly float* _y = (float*)NativeMemory.AlignedAlloc(Vocabulary * sizeof(float), 64);

    private SmallProducts(int bits, int tile)
    {
        for (var i = 0; i < Vocabulary; i++)
            _x[i] = (i * 37 % 101 - 50) / 50f;
        var random = new Random(1);
        for (var layer = 0; layer < Layers; layer++)
            foreach (var (k, n) in new[] { (Width, Width), (Width, KeyWidth), (Width, KeyWidth), (Width, Width), (Width, Hidden), (Width, Hidden), (Hidden, Width) })
                _weights.Add(Weight(random, n, k, bits, tile));
        _weights.Add(Weight(random, Vocabulary, Width, 8, 0));
    }

    public static void Run()
    {
        var region = new Race(processorTime: false);
        var nothing = new Nothing();
        region.Add("", () =>
        {
            for (var i = 0; i < Repeats; i++)
                KernelPool.Shared.Run(nothing, 2);
        });
        Console.WriteLine($"an empty parallel region of two threads: {region.Run()[0].Median * 1000 / Repeats:F2} µs");
        foreach (var (bits, tile) in new[] { (4, 64), (4, 32), (8, 0) })
        {
            using var model = new SmallProducts(bits, tile);
            model.Report($"int{bits}, {(tile == 0 ? "per channel" : $"tile {tile}")}");
        }
    }

    public void Dispose()
    {
        _weights.ForEach(w => w.Dispose());
        NativeMemory.AlignedFree(_x);
        NativeMemory.AlignedFree(_y);
    }

    private void Report(string name)
    {
        var race = new Race(processorTime: false);
        race.Add("one thread", () => Products(1));
        race.Add("two threads", () => Products(2));
        race.Add("two threads, grouped", Groups);
        foreach (var (weight, what) in new[] { (_weights[0], "576→576"), (_weights[1], "576→192"), (_weights[4], "576→1536"), (_weights[6], "1536→576") })
            for (var threads = 1; threads <= 2; threads++)
            {
                var count = threads;
                race.Add($"{Repeats} × {what}, {threads} thread{(threads == 1 ? "" : "s")}", () =>
                {
                    for (var i = 0; i < Repeats; i++)
                        Product(weight, count);
                });
            }
        var bytes = _weights.Sum(w => w.Bytes);
        Console.WriteLine($"{name}: {_weights.Count} products, {bytes / 1e6:F1} MB");
        foreach (var (what, median, least) in race.Run())
        {
            var perProduct = 1000 / (what.Contains('×') ? Repeats : (double)_weights.Count);
            var speed = what.Contains('×') ? "" : $"; {bytes / least / 1e6:F1} GB/s at most";
            Console.WriteLine($"  {what,-26} {median:F3} ms, least {least:F3}: {median * perProduct:F2} and {least * perProduct:F2} µs a product{speed}");
        }
    }

    private void Products(int threads)
    {
        foreach (var weight in _weights)
            Product(weight, threads);
    }

    /// <summary>Queries, keys and values at once, and so the two products that a gate multiplies.</summary>
    private void Groups()
    {
        for (var i = 0; i + 7 <= _weights.Count; i += 7)
        {
            Group(i, 3);
            Product(_weights[i + 3], 2);
            Group(i + 4, 2);
            Product(_weights[i + 6], 2);
        }
        Product(_weights[^1], 2);
    }

    private void Group(int first, int count)
    {
        float* y = _y;
        for (var i = 0; i < count; y += _weights[first + i++].Rows)
            _parts[i] = new(_weights[first + i], new ProductOutput((nint)y, _weights[first + i].Rows));
        MatMul.Dynamic(new FloatInput((nint)_x, Width, 1), _parts.AsSpan(0, count), 2, scalePerTile: _weights[first].Tiles > 1);
    }

    private void Product(PackedWeight weight, int threads) =>
        MatMul.Dynamic(_x, weight.Depth, 1, weight, new ProductOutput((nint)_y, weight.Rows), threads, scalePerTile: weight.Tiles > 1);

    private static PackedWeight Weight(Random random, int n, int k, int bits, int tile)
    {
        if (tile == 0)
            tile = k;
        var codes = new sbyte[n * k];
        for (var i = 0; i < codes.Length; i++)
            codes[i] = (sbyte)random.Next(-(1 << (bits - 1)), 1 << (bits - 1));
        var scales = new float[n * (k / tile)];
        Array.Fill(scales, 0.01f);
        fixed (sbyte* c = codes)
        fixed (float* s = scales)
            return PackedWeight.FromIntegers(c, s, n, k, tile, bits, 2);
    }

    private sealed class Nothing : KernelJob
    {
        public override void Run(int worker)
        {
        }
    }
}
