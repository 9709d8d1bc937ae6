using System.Runtime.InteropServices;
using Microsoft.ML.OnnxRuntime;
using QwixSharp.Kernels.Convolutions;

namespace QwixSharp.Benchmarks.Peers;

/// <summary>QLinearConv of ONNX Runtime: uint8 image in and out, int8 weights with a scale a channel, random.</summary>
internal sealed class OnnxConvolution : IDisposable
{
    private static readonly string[] InputNames = ["x"];
    private static readonly string[] OutputNames = ["y"];

    private readonly InferenceSession _session;
    private readonly OrtValue[] _inputs;
    private readonly OrtValue[] _outputs;
    private readonly RunOptions _options = new();

    public OnnxConvolution(ConvolutionShape shape, int threads)
    {
        using var options = new SessionOptions { IntraOpNumThreads = threads, InterOpNumThreads = 1 };
        options.AddSessionConfigEntry("session.force_spinning_stop", "1");
        _session = new InferenceSession(Model(shape), options);
        var image = new byte[shape.Channels * shape.Height * shape.Width];
        new Random(1).NextBytes(image);
        _inputs = [OrtValue.CreateTensorValueFromMemory(image, [1, shape.Channels, shape.Height, shape.Width])];
        _outputs = [OrtValue.CreateTensorValueFromMemory(new byte[shape.OutChannels * shape.OutHeight * shape.OutWidth], [1, shape.OutChannels, shape.OutHeight, shape.OutWidth])];
    }

    public void Run() => _session.Run(_options, InputNames, _inputs, OutputNames, _outputs);

    public void Dispose()
    {
        foreach (var value in _inputs.Concat(_outputs))
            value.Dispose();
        _session.Dispose();
        _options.Dispose();
    }

    private static byte[] Model(ConvolutionShape shape)
    {
        var weights = new byte[shape.OutChannels * shape.WindowSize];
        new Random(2).NextBytes(weights);
        float[] scale = [0.02f];
        float[] weightScales = [.. Enumerable.Repeat(0.01f, shape.OutChannels)];
        byte[] zero = [128];
        var node = OnnxWriter.Node(
            "QLinearConv",
            "",
            ["x", "xs", "xz", "w", "ws", "wz", "xs", "xz"],
            [
                OnnxWriter.Attribute("pads", [shape.PadTop, shape.PadLeft, shape.PadBottom, shape.PadRight]),
                OnnxWriter.Attribute("strides", [shape.StrideY, shape.StrideX]),
            ]);
        byte[][] initializers =
        [
            OnnxWriter.Tensor("xs", OnnxWriter.Float, [], MemoryMarshal.AsBytes(scale.AsSpan())),
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
