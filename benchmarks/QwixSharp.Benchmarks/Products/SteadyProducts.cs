using System.Runtime.InteropServices;
using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.Emit;
using QwixSharp.Benchmarks.Figures;
using QwixSharp.Kernels;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Weights;
using TorchSharp;

namespace QwixSharp.Benchmarks.Products;

/// <summary>Products of every family under BenchmarkDotNet, whose memory diagnosis shows that a steady-state product allocates nothing.</summary>
[MemoryDiagnoser]
public unsafe class SteadyProducts
{
    private const int Size = 1024;
    private const int Threads = 2;

    private readonly List<PackedWeight> _weights = [];
    private PackedWeight _int8 = null!, _int4 = null!, _nf4 = null!, _fp8 = null!;
    private float* _x;
    private ushort* _narrow;
    private float* _y;

    /// <summary>M.</summary>
    [Params(1, 32)]
    public int Rows { get; set; }

    /// <summary>Runs all in this process.</summary>
    public static void Run() => BenchmarkRunner.Run([typeof(SteadyProducts), typeof(SteadyConvolutions)], DefaultConfig.Instance.AddJob(Job.ShortRun.WithToolchain(InProcessEmitToolchain.Instance)));

    /// <summary>Packs the weights.</summary>
    [GlobalSetup]
    public void Prepare()
    {
        // Products run on libtorch's threads once it is loaded, as it always is beside tensors.
        torch.set_num_threads(Threads);
        (_int8, _int4) = (Pack(SampleWeight.Gaussian(Size, Size, Size, 8)), Pack(SampleWeight.Gaussian(Size, Size, 32, 4)));
        (_nf4, _fp8) = (Pack(SampleWeight.NormalFloat(Size, Size, 64)), Pack(SampleWeight.Float8(Size, Size)));
        var count = (nuint)(Rows * Size);
        _x = (float*)NativeMemory.Alloc(count, sizeof(float));
        _narrow = (ushort*)NativeMemory.Alloc(count, sizeof(ushort));
        _y = (float*)NativeMemory.Alloc(count, sizeof(float));
        var random = new Random(1);
        for (var i = 0; i < Rows * Size; i++)
        {
            _x[i] = (float)random.NextDouble() - 0.5f;
            _narrow[i] = (ushort)(BitConverter.SingleToUInt32Bits(_x[i]) >> 16);
        }
    }

    /// <summary>Frees them.</summary>
    [GlobalCleanup]
    public void Free()
    {
        _weights.ForEach(w => w.Dispose());
        NativeMemory.Free(_x);
        NativeMemory.Free(_narrow);
        NativeMemory.Free(_y);
    }

    /// <summary>int8 on int8.</summary>
    [Benchmark]
    public void W8A8() => MatMul.Dynamic(_x, Size, Rows, _int8, Output, Threads);

    /// <summary>int4 in tiles on int8.</summary>
    [Benchmark]
    public void W4A8() => MatMul.Dynamic(_x, Size, Rows, _int4, Output, Threads);

    /// <summary>int4 in tiles on int8, whose tiles have scales of their own.</summary>
    [Benchmark]
    public void W4A8Tiles() => MatMul.Dynamic(_x, Size, Rows, _int4, Output, Threads, scalePerTile: true);

    /// <summary>int8 on int8 with a static scale and a zero point.</summary>
    [Benchmark]
    public void W8A8Static() => MatMul.Quantized(
        new QuantizedInput { Source = QuantizedSource.Static, Values = (nint)_x, RowStride = Size, Rows = Rows, Range = CodeRange.Int8, StaticScale = 0.004f, StaticZeroPoint = 3 }, _int8, Output, Threads);

    /// <summary>int8 on int8, from bfloat16 and to it.</summary>
    [Benchmark]
    public void W8A8BFloat16() => MatMul.Dynamic(NarrowInput, _int8, NarrowOutput, Threads);

    /// <summary>int8 on float32.</summary>
    [Benchmark]
    public void WeightOnlyInt8() => MatMul.WeightOnly(_x, Size, Rows, _int8, Output, Threads);

    /// <summary>int4 in tiles on float32.</summary>
    [Benchmark]
    public void WeightOnlyInt4() => MatMul.WeightOnly(_x, Size, Rows, _int4, Output, Threads);

    /// <summary>int4 in tiles on bfloat16.</summary>
    [Benchmark]
    public void WeightOnlyInt4BFloat16() => MatMul.WeightOnly(NarrowInput, _int4, NarrowOutput, Threads);

    /// <summary>nf4 in tiles on float32.</summary>
    [Benchmark]
    public void WeightOnlyNf4() => MatMul.WeightOnly(_x, Size, Rows, _nf4, Output, Threads);

    /// <summary>fp8 on float32.</summary>
    [Benchmark]
    public void WeightOnlyFp8() => MatMul.WeightOnly(_x, Size, Rows, _fp8, Output, Threads);

    /// <summary>A row of a table for each row of x.</summary>
    [Benchmark]
    public void Embedding()
    {
        for (var row = 0; row < Rows; row++)
            _int8.DequantizeRow(row * 7 % Size, _y + row * Size);
    }

    private ProductOutput Output => new((nint)_y, Size);

    private FloatInput NarrowInput => new((nint)_narrow, Size, Rows, FloatFormat.BFloat16);

    private ProductOutput NarrowOutput => new((nint)_y, Size, Format: FloatFormat.BFloat16);

    private PackedWeight Pack(SampleWeight sample)
    {
        var weight = sample.Pack(Threads);
        _weights.Add(weight);
        return weight;
    }
}
