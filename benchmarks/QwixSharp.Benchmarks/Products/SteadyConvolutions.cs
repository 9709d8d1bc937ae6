using System.Runtime.InteropServices;
using BenchmarkDotNet.Attributes;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Convolutions;
using TorchSharp;

namespace QwixSharp.Benchmarks.Products;

/// <summary>Convolutions under BenchmarkDotNet, as <see cref="SteadyProducts"/>.</summary>
[MemoryDiagnoser]
public unsafe class SteadyConvolutions
{
    private const int Size = 28, Channels = 64, Threads = 2;

    private ConvolutionKernel _kernel = null!;
    private float* _image;
    private float* _y;

    /// <summary>Whether the image is [channels, height, width].</summary>
    [Params(false, true)]
    public bool ChannelsFirst { get; set; }

    /// <summary>Rows and columns of the window.</summary>
    [Params(1, 3)]
    public int Window { get; set; }

    /// <summary>Groups of channels; as many as channels are depthwise.</summary>
    [Params(1, 2, Channels)]
    public int Groups { get; set; }

    /// <summary>Packs the weight.</summary>
    [GlobalSetup]
    public void Prepare()
    {
        torch.set_num_threads(Threads);
        var random = new Random(1);
        var shape = new ConvolutionShape
        {
            Height = Size,
            Width = Size,
            Channels = Channels,
            OutChannels = Channels,
            Groups = Groups,
            KernelHeight = Window,
            KernelWidth = Window,
            PadTop = Window / 2,
            PadBottom = Window / 2,
            PadLeft = Window / 2,
            PadRight = Window / 2,
        };
        var codes = new sbyte[Channels * shape.WindowSize];
        var scales = new float[Channels];
        random.NextBytes(MemoryMarshal.AsBytes(codes.AsSpan()));
        Array.Fill(scales, 0.01f);
        fixed (sbyte* c = codes)
        fixed (float* s = scales)
            _kernel = ConvolutionKernel.Pack(c, s, shape);
        const int Count = Size * Size * Channels;
        _image = (float*)NativeMemory.Alloc(Count, sizeof(float));
        _y = (float*)NativeMemory.Alloc(Count, sizeof(float));
        for (var i = 0; i < Count; i++)
            _image[i] = random.NextSingle();
    }

    /// <summary>Frees it.</summary>
    [GlobalCleanup]
    public void Free()
    {
        _kernel.Dispose();
        NativeMemory.Free(_image);
        NativeMemory.Free(_y);
    }

    /// <summary>A float32 image, quantized on the way.</summary>
    [Benchmark]
    public bool Int8() => _kernel.Run(
        new ConvolutionInput((nint)_image, ChannelsFirst ? ImageForm.FloatsChannelsFirst : ImageForm.Floats, Size, Size, 0.01f, 0, CodeRange.Int8),
        new ConvolutionOutput { Floats = (nint)_y, ChannelsLast = !ChannelsFirst },
        Threads);
}
