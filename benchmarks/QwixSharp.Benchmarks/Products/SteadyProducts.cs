using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using TorchSharp;

namespace QwixSharp.Benchmarks.Products;

/// <summary>Products under BenchmarkDotNet, whose memory diagnosis shows that a steady-state product allocates nothing.</summary>
[MemoryDiagnoser]
public class SteadyProducts
{
    private const int Size = 1024;
    private const int Tile = 32;
    private const int Threads = 2;

    private OurProducts _products = null!;
    private Action _w8a8 = null!, _w4a8 = null!, _int8 = null!, _int4 = null!;

    /// <summary>M.</summary>
    [Params(1, 32)]
    public int Rows { get; set; }

    /// <summary>Runs all in this process.</summary>
    public static void Run() => BenchmarkRunner.Run<SteadyProducts>(DefaultConfig.Instance.AddJob(Job.ShortRun.WithToolchain(InProcessEmitToolchain.Instance)));

    /// <summary>Packs the weights.</summary>
    [GlobalSetup]
    public void Prepare()
    {
        // Products run on libtorch's threads once it is loaded, as it always is beside tensors.
        torch.set_num_threads(Threads);
        var x = new float[Rows * Size];
        var random = new Random(1);
        for (var i = 0; i < x.Length; i++)
            x[i] = (float)random.NextDouble() - 0.5f;
        _products = new OurProducts(Rows, Size, Size, x, Threads);
        (_w8a8, _w4a8) = (_products.Dynamic(8, Size), _products.Dynamic(4, Tile));
        (_int8, _int4) = (_products.WeightOnly(8, Size), _products.WeightOnly(4, Tile));
    }

    /// <summary>Frees them.</summary>
    [GlobalCleanup]
    public void Free() => _products.Dispose();

    /// <summary>int8 on int8.</summary>
    [Benchmark]
    public void W8A8() => _w8a8();

    /// <summary>int4 in tiles on int8.</summary>
    [Benchmark]
    public void W4A8() => _w4a8();

    /// <summary>int8 on float32.</summary>
    [Benchmark]
    public void WeightOnlyInt8() => _int8();

    /// <summary>int4 in tiles on float32.</summary>
    [Benchmark]
    public void WeightOnlyInt4() => _int4();
}
