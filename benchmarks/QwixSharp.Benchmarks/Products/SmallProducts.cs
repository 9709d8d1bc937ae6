using System.Diagnostics;
using System.Runtime.InteropServices;
using QwixSharp.Arrays;
using QwixSharp.Kernels;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Threading;
using QwixSharp.Kernels.Weights;
using TorchSharp;

namespace QwixSharp.Benchmarks.Products;

/// <summary>
/// The products of one token of a small language model (SmolLM2-135M): many, each of a few hundred kilobytes, so that what a
/// product costs besides reading its weight shows.
/// </summary>
internal sealed unsafe class SmallProducts : IDisposable
{
    private const int Layers = 30, Width = 576, KeyWidth = 192, Hidden = 1536, Vocabulary = 49152;
    private const int Rounds = 60;

    private readonly List<PackedWeight> _weights = [];
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
        Console.WriteLine($"an empty region of two threads: {Microseconds(() => KernelPool.Shared.Run(new Nothing(), 2)):F2} µs");
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
        double alone = Microseconds(() => Products(1)), together = Microseconds(() => Products(2));
        var bytes = _weights.Sum(w => w.Bytes);
        Console.WriteLine($"{name}: {_weights.Count} products, {bytes / 1e6:F1} MB; one thread {alone:F0} µs, two {together:F0} µs: {together / _weights.Count:F1} µs each, {bytes / together / 1e3:F1} GB/s");
        foreach (var (weight, what) in new[] { (_weights[0], "576→576"), (_weights[1], "576→192"), (_weights[4], "576→1536"), (_weights[6], "1536→576") })
            Console.WriteLine($"  {what,-10} again and again: one thread {Microseconds(() => Product(weight, 1)):F2} µs, two {Microseconds(() => Product(weight, 2)):F2} µs");
    }

    private void Products(int threads)
    {
        foreach (var weight in _weights)
            Product(weight, threads);
    }

    private void Product(PackedWeight weight, int threads) =>
        MatMul.Dynamic(_x, weight.Depth, 1, weight, new ProductOutput((nint)_y, weight.Rows), threads, scalePerTile: weight.Tiles > 1);

    private static double Microseconds(Action work)
    {
        List<double> times = [];
        for (var start = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(start).TotalMilliseconds < 300;)
            work();
        for (var round = 0; round < Rounds; round++)
        {
            var start = Stopwatch.GetTimestamp();
            for (var i = 0; i < 10; i++)
                work();
            times.Add(Stopwatch.GetElapsedTime(start).TotalMicroseconds / 10);
        }

        return times.Order().ElementAt(Rounds / 2);
    }

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
