using System.Runtime.InteropServices;
using QwixSharp.Benchmarks.Peers;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Convolutions;

namespace QwixSharp.Benchmarks.Products;

/// <summary>
/// The eight shapes of ResNet-18's convolutions against QLinearConv, which takes and gives codes with channels first. Ours also from
/// codes to codes with channels last, as convolutions of a model hand them over, and from float32 to float32.
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
        var x = (float*)NativeMemory.AllocZeroed((nuint)(shape.Channels * shape.Height * shape.Width), sizeof(float));
        var y = (float*)NativeMemory.AllocZeroed((nuint)(shape.OutChannels * shape.OutHeight * shape.OutWidth), sizeof(float));
        var weights = new sbyte[shape.OutChannels * shape.WindowSize];
        var scales = new float[shape.OutChannels];
        new Random(1).NextBytes(MemoryMarshal.AsBytes(weights.AsSpan()));
        var codes = new ConvolutionOutput { Codes = (nint)y, CodeScale = 1, CodeRange = CodeRange.Int8 };
        fixed (sbyte* w = weights)
        fixed (float* s = scales)
        {
            using var ours = ConvolutionKernel.Pack(w, s, shape);
            using var peer = new OnnxConvolution(shape, threads);
            var race = new Race(processorTime);
            race.Add("ort QLinearConv", peer.Run);
            race.Add("ours, channels first", () => ours.Run(Image(ImageForm.CodesChannelsFirst), codes, threads));
            race.Add("ours, channels last", () => ours.Run(Image(ImageForm.UnsignedCodes), codes with { ChannelsLast = true }, threads));
            race.Add("ours, float32", () => ours.Run(Image(ImageForm.FloatsChannelsFirst), new ConvolutionOutput { Floats = (nint)y }, threads));
            var results = race.Run();
            Console.WriteLine($"{shape.KernelHeight}x{shape.KernelWidth} {shape.Channels} -> {shape.OutChannels} at {shape.Height}, stride {shape.StrideX}");
            foreach (var (name, median, least) in results)
                Console.WriteLine($"  {name,-20}{median,9:F3} {least,9:F3} ms   {median / results[0].Median,6:F2} {least / results[0].Least,6:F2}");
        }
        NativeMemory.Free(x);
        NativeMemory.Free(y);

        ConvolutionInput Image(ImageForm form) => new((nint)x, form, shape.Height, shape.Width, 0.1f, 0, CodeRange.Int8);
    }
}
