using System.Runtime.InteropServices;
using QwixSharp.Benchmarks.Peers;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Convolutions;

namespace QwixSharp.Benchmarks.Figures;

/// <summary>
/// An int8 convolution of one image of codes with channels first, to codes with channels first, by us and by ONNX Runtime's
/// QLinearConv; the time of bringing channels last and back is in both.
/// </summary>
internal static unsafe class ConvolutionFigure
{
    private const int Checked = 500;
    private const float PeerTolerance = 0.51f;

    public static Figure Of(ConvolutionShape shape, int threads, Goal goal)
    {
        var random = new Random(4);
        sbyte[] image = new sbyte[shape.Channels * shape.Height * shape.Width], weights = new sbyte[shape.OutChannels * shape.WindowSize];
        random.NextBytes(MemoryMarshal.AsBytes(image.AsSpan()));
        // Their sums must stay within the peer's result codes.
        for (var i = 0; i < weights.Length; i++)
            weights[i] = (sbyte)random.Next(-60, 61);
        var name = $"conv {shape.KernelHeight}×{shape.KernelWidth}, {shape.Channels}→{shape.OutChannels} at {shape.Height}, stride {shape.StrideX}";
        return new(name, goal, Ours(shape, image, weights, threads), Peer(shape, image, weights, threads));
    }

    private static Candidate Ours(ConvolutionShape shape, sbyte[] image, sbyte[] weights, int threads) => new("ours, int8 convolution", () =>
    {
        var (imageScale, weightScale, resultScale) = OnnxConvolution.Scales(shape);
        var source = (sbyte*)NativeMemory.AlignedAlloc((nuint)image.Length, 64);
        image.CopyTo(new Span<sbyte>(source, image.Length));
        var resultSize = shape.OutChannels * shape.OutHeight * shape.OutWidth;
        var y = (sbyte*)NativeMemory.AlignedAlloc((nuint)resultSize, 64);
        ConvolutionKernel kernel;
        fixed (sbyte* w = weights)
        fixed (float* s = Enumerable.Repeat(weightScale, shape.OutChannels).ToArray())
            kernel = ConvolutionKernel.Pack(w, s, shape);
        var input = new ConvolutionInput((nint)source, ImageForm.CodesChannelsFirst, shape.Height, shape.Width, imageScale);
        var output = new ConvolutionOutput { Codes = (nint)y, CodeScale = resultScale, CodeRange = CodeRange.Int8 };
        return new Prepared(
            () => kernel.Run(input, output, threads),
            () => Some(resultSize).All(i => y[i] == Math.Clamp(MathF.Round(Sum(shape, image, weights, i) * imageScale * weightScale / resultScale), -128, 127)),
            () =>
            {
                kernel.Dispose();
                NativeMemory.AlignedFree(source);
                NativeMemory.AlignedFree(y);
            });
    });

    private static Candidate Peer(ConvolutionShape shape, sbyte[] image, sbyte[] weights, int threads) => new("ONNX Runtime QLinearConv", () =>
    {
        byte[] unsigned = [.. image.Select(c => (byte)(c + 128))], bytes = MemoryMarshal.AsBytes(weights.AsSpan()).ToArray();
        var (imageScale, weightScale, resultScale) = OnnxConvolution.Scales(shape);
        var peer = new OnnxConvolution(shape, threads, unsigned, bytes);
        return new Prepared(
            peer.Run,
            () => Some(shape.OutChannels * shape.OutHeight * shape.OutWidth).All(i =>
                MathF.Abs(Math.Clamp(Sum(shape, image, weights, i) * imageScale * weightScale / resultScale, -128, 127) - (peer.Result[i] - 128)) <= PeerTolerance),
            peer.Dispose);
    });

    private static IEnumerable<int> Some(int count) => Enumerable.Range(0, Checked).Select(i => (int)((long)i * (count - 1) / (Checked - 1)));

    /// <summary>One element of the result, before its scales.</summary>
    private static float Sum(ConvolutionShape shape, sbyte[] image, sbyte[] weights, int index)
    {
        var (channel, y, x) = (index / (shape.OutHeight * shape.OutWidth), index / shape.OutWidth % shape.OutHeight, index % shape.OutWidth);
        var sum = 0;
        for (var c = 0; c < shape.Channels; c++)
            for (var i = 0; i < shape.KernelHeight; i++)
                for (var j = 0; j < shape.KernelWidth; j++)
                {
                    var (row, column) = (y * shape.StrideY - shape.PadTop + i, x * shape.StrideX - shape.PadLeft + j);
                    if ((uint)row < (uint)shape.Height && (uint)column < (uint)shape.Width)
                        sum += image[(c * shape.Height + row) * shape.Width + column] * weights[((channel * shape.Channels + c) * shape.KernelHeight + i) * shape.KernelWidth + j];
                }
        return sum;
    }
}
