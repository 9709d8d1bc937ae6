using System.Runtime.InteropServices;
using Microsoft.ML.OnnxRuntime;
using QwixSharp.Kernels.Convolutions;

namespace QwixSharp.Benchmarks.Peers;

/// <summary>QLinearConv of ONNX Runtime: uint8 image in and out, int8 weights with a scale a channel. What is not given is random.</summary>
internal sealed class OnnxConvolution : IDisposable
{
    private static readonly string[] InputNames = ["x"];
    private static readonly string[] OutputNames = ["y"];

    private readonly InferenceSession _session;
    private readonly OrtValue[] _inputs;
    private readonly OrtValue[] _outputs;
    private readonly RunOptions _options = new();

    /// <summary>Makes a model of one convolution; zero points are 128.</summary>
    /// <param name="shape">The sizes.</param>
    /// <param name="threads">Its threads.</param>
    /// <param name="image">[channels, height, width].</param>
    /// <param name="weights">[out channels, channels, kernel height, kernel width].</param>
    public OnnxConvolution(ConvolutionShape shape, int threads, byte[]? image = null, byte[]? weights = null)
    {
        using var options = new SessionOptions { IntraOpNumThreads = threads, InterOpNumThreads = 1 };
        options.AddSessionConfigEntry("session.force_spinning_stop", "1");
        _session = new InferenceSession(Model(shape, weights ?? Bytes(shape.OutChannels * shape.WindowSize)), options);
        _inputs = [OrtValue.CreateTensorValueFromMemory(image ?? Bytes(shape.Channels * shape.Height * shape.Width), [1, shape.Channels, shape.Height, shape.Width])];
        _outputs = [OrtValue.CreateTensorValueFromMemory(new byte[shape.OutChannels * shape.OutHeight * shape.OutWidth], [1, shape.OutChannels, shape.OutHeight, shape.OutWidth])];
    }

    /// <summary>What a code of the image, a code of the weights, and a code of the result stand for.</summary>
    public static (float Image, float Weight, float Result) Scales(ConvolutionShape shape) => (0.02f, 0.01f, 0.02f * MathF.Sqrt(shape.WindowSize));

    /// <summary>The result of the last run, [out channels, height, width].</summary>
    public ReadOnlySpan<byte> Result => _outputs[0].GetTensorDataAsSpan<byte>();

    public void Run() => _session.Run(_options, InputNames, _inputs, OutputNames, _outputs);

    public void Dispose()
    {
        foreach (var value in _inputs.Concat(_outputs))
            value.Dispose();
        _session.Dispose();
        _options.Dispose();
    }

    private static byte[] Bytes(int count)
    {
        var bytes = new byte[count];
        new Random(1).NextBytes(bytes);
        return bytes;
    }

    private static byte[] Model(ConvolutionShape shape, byte[] weights)
    {
        var scales = Scales(shape);
        float[] scale = [scales.Image], resultScale = [scales.Result];
        float[] weightScales = [.. Enumerable.Repeat(scales.Weight, shape.OutChannels)];
        byte[] zero = [128];
        var node = OnnxWriter.Node(
            "QLinearConv",
            "",
            ["x", "xs", "xz", "w", "ws", "wz", "ys", "xz"],
            [
                OnnxWriter.Attribute("pads", [shape.PadTop, shape.PadLeft, shape.PadBottom, shape.PadRight]),
                OnnxWriter.Attribute("strides", [shape.StrideY, shape.StrideX]),
            ]);
        byte[][] initializers =
        [
            OnnxWriter.Tensor("xs", OnnxWriter.Float, [], MemoryMarshal.AsBytes(scale.AsSpan())),
            OnnxWriter.Tensor("ys", OnnxWriter.Float, [], MemoryMarshal.AsBytes(resultScale.AsSpan())),
            OnnxWriter.Tensor("xz", OnnxWriter.UInt8, [], zero),
            OnnxWriter.Tensor("w", OnnxWriter.Int8, [shape.OutChannels, shape.GroupChannels, shape.KernelHeight, shape.KernelWidth], weights),
            OnnxWriter.Tensor("ws", OnnxWriter.Float, [shape.OutChannels], MemoryMarshal.AsBytes(weightScales.AsSpan())),
            OnnxWriter.Tensor("wz", OnnxWriter.Int8, [shape.OutChannels], new byte[shape.OutChannels]),
        ];
        return OnnxWriter.Model(
            node,
            initializers,
            OnnxWriter.Value("x", OnnxWriter.UInt8, 1, shape.Channels, shape.Height, shape.Width),
            OnnxWriter.Value("y", OnnxWriter.UInt8, 1, shape.OutChannels, shape.OutHeight, shape.OutWidth));
    }
}
