using System.Runtime.InteropServices;
using QwixSharp.Benchmarks.Peers;
using QwixSharp.Kernels;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Convolutions;

namespace QwixSharp.Benchmarks.Products;

/// <summary>
/// The eight shapes of ResNet-18's convolutions against QLinearConv. Ours starts from codes with channels last, or from float32
/// with channels first, and gives float32 with channels first.
/// </summary>
internal static unsafe class ConvolutionBenchmark
{
    internal static readonly ConvolutionShape[] Shapes =
    [
        Shape(224, 3, 64, 7, 2), Shape(56, 64, 64, 3, 1), Shape(56, 64, 128, 3, 2), Shape(28, 128, 128, 3, 1),
        Shape(14, 256, 256, 3, 1), Shape(7, 512, 512, 3, 1), Shape(56, 64, 128, 1, 2), Shape(28, 128, 256, 3, 2),
    ];

    /// <param name="processorTime">One thread each and its processor time, for a machine that does other work.</param>
    public static void Run(bool processorTime)
    {
        foreach (var shape in Shapes)
            Race(shape, processorTime ? 1 : 2, processorTime);
    }

    private static ConvolutionShape Shape(int size, int channels, int outChannels, int kernel, int stride) => new()
    {
        Height = size,
        Width = size,
        Channels = channels,
        OutChannels = outChannels,
        KernelHeight = kernel,
        KernelWidth = kernel,
        StrideY = stride,
        StrideX = stride,
        PadTop = kernel / 2,
        PadBottom = kernel / 2,
        PadLeft = kernel / 2,
        PadRight = kernel / 2,
    };

    private static void Race(ConvolutionShape shape, int threads, bool processorTime)
    {
        var pixels = shape.Height * shape.Width;
        var x = (float*)NativeMemory.AllocZeroed((nuint)(shape.Channels * pixels), sizeof(float));
        var codes = (sbyte*)NativeMemory.AllocZeroed((nuint)(shape.Channels * pixels));
        var y = (float*)NativeMemory.AllocZeroed((nuint)(shape.OutChannels * shape.OutHeight * shape.OutWidth), sizeof(float));
        var weights = new sbyte[shape.OutChannels * shape.WindowSize];
        var scales = new float[shape.OutChannels];
        new Random(1).NextBytes(MemoryMarshal.AsBytes(weights.AsSpan()));
        fixed (sbyte* w = weights)
        fixed (float* s = scales)
        {
            using var ours = new PackedConvolution(w, s, shape);
            using var peer = new OnnxConvolution(shape, threads);
            var race = new Race(processorTime);
            race.Add("ort QLinearConv", peer.Run);
            race.Add("ours from codes", () => ours.Run(codes, shape.Height, shape.Width, 0.1f, 0, y, channelsLast: false, null, FusedActivation.None, threads));
            race.Add("ours from float32", () =>
            {
                PackedConvolution.QuantizeImage(x, shape.Channels, pixels, 0.1f, 0, CodeRange.Int8, codes, threads);
                ours.Run(codes, shape.Height, shape.Width, 0.1f, 0, y, channelsLast: false, null, FusedActivation.None, threads);
            });
            var results = race.Run();
            Console.WriteLine($"{shape.KernelHeight}x{shape.KernelWidth} {shape.Channels} -> {shape.OutChannels} at {shape.Height}, stride {shape.StrideX}");
            foreach (var (name, median, least) in results)
                Console.WriteLine($"  {name,-20}{median,9:F3} {least,9:F3} ms   {median / results[0].Median,6:F2} {least / results[0].Least,6:F2}");
        }
        NativeMemory.Free(x);
        NativeMemory.Free(codes);
        NativeMemory.Free(y);
    }
}
