using static TorchSharp.torch;

namespace QwixSharp.Benchmarks.Peers;

/// <summary>
/// A network on images as ONNX Runtime's static quantization makes it: batch normalization folded into the convolutions, int8 weights
/// per channel, uint8 activations with ranges of an example, and a pair of QuantizeLinear and DequantizeLinear at each value, which
/// its optimizer turns into integer ops.
/// </summary>
/// <param name="network">torchvision's network.</param>
internal abstract class OnnxImageNetwork(nn.Module network)
{
    private const double NormEpsilon = 1e-5;

    /// <summary>The graph that is built.</summary>
    protected OnnxGraph Graph { get; } = new();

    /// <summary>The network's parameters and buffers.</summary>
    protected Dictionary<string, Tensor> Weights { get; } = network.state_dict();

    /// <summary>A value of the graph: its name, the example's numbers, and the scale that it is quantized with.</summary>
    protected sealed record Value(string Name, Tensor Numbers, float Scale);

    /// <summary>The model, with the input <c>x</c> of the example's shape.</summary>
    /// <param name="example">[batch, 3, height, width].</param>
    public byte[] Model(Tensor example)
    {
        using var scope = NewDisposeScope();
        var y = Build(Quantized("x", example));
        return Graph.Model([OnnxWriter.Value("x", OnnxWriter.Float, example.shape)], y.Name, y.Numbers.shape);
    }

    /// <summary>Adds the network's ops.</summary>
    /// <returns>The result.</returns>
    protected abstract Value Build(Value x);

    /// <summary>A convolution with its batch norm, and an activation that brings values between 0 and <paramref name="highest"/>.</summary>
    /// <param name="x">The input.</param>
    /// <param name="name">The convolution's name.</param>
    /// <param name="norm">The batch norm's name.</param>
    /// <param name="stride">Along both axes.</param>
    /// <param name="padding">On each side.</param>
    /// <param name="highest">The most that the activation leaves; infinity for ReLU; null for no activation.</param>
    protected Value Convolve(Value x, string name, string norm, int stride, int padding, double? highest)
    {
        var factor = Weights[norm + ".weight"] / (Weights[norm + ".running_var"] + NormEpsilon).sqrt();
        var weight = Weights[name + ".weight"] * factor.reshape(-1, 1, 1, 1);
        var bias = Weights[norm + ".bias"] - Weights[norm + ".running_mean"] * factor;
        var (codes, addend) = Constants(weight, bias, x.Scale);
        var groups = x.Numbers.size(1) / weight.size(1);
        var y = Graph.Add(
            "Conv", [x.Name, codes, addend],
            OnnxWriter.Attribute("strides", [stride, stride]), OnnxWriter.Attribute("pads", [padding, padding, padding, padding]), OnnxWriter.Attribute("group", groups));
        var numbers = nn.functional.conv2d(x.Numbers, weight, bias, strides: [stride, stride], padding: [padding, padding], groups: groups);
        if (highest is not { } most)
            return Quantized(y, numbers);
        y = double.IsInfinity(most) ? Graph.Add("Relu", [y]) : Graph.Add("Clip", [y, Graph.Constant(0f), Graph.Constant((float)most)]);
        return Quantized(y, numbers.clamp(0, most));
    }

    /// <summary>The mean of each channel, and a linear layer.</summary>
    /// <param name="x">The images.</param>
    /// <param name="name">The layer's name.</param>
    protected Value Classify(Value x, string name)
    {
        x = Quantized(Graph.Add("GlobalAveragePool", [x.Name]), x.Numbers.mean([2, 3], keepdim: true));
        x = Quantized(Graph.Add("Flatten", [x.Name]), x.Numbers.flatten(1));
        Tensor weight = Weights[name + ".weight"], bias = Weights[name + ".bias"];
        var (codes, addend) = Constants(weight, bias, x.Scale);
        return Quantized(Graph.Add("Gemm", [x.Name, codes, addend], OnnxWriter.Attribute("transB", 1)), nn.functional.linear(x.Numbers, weight, bias));
    }

    /// <summary>A result of an op, quantized and dequantized.</summary>
    /// <param name="name">The result's name.</param>
    /// <param name="numbers">The example's numbers.</param>
    protected Value Quantized(string name, Tensor numbers)
    {
        var low = Math.Min(0, numbers.min().item<float>());
        var scale = (Math.Max(0, numbers.max().item<float>()) - low) / 255;
        string[] parameters = [Graph.Constant(scale), Graph.Constant((byte)MathF.Round(-low / scale))];
        return new(Graph.Add("DequantizeLinear", [Graph.Add("QuantizeLinear", [name, .. parameters]), .. parameters]), numbers, scale);
    }

    /// <summary>A weight in int8 with a scale for each of its first axis, and its bias in int32, both dequantized.</summary>
    private (string Weight, string Bias) Constants(Tensor weight, Tensor bias, float inputScale)
    {
        var scale = weight.flatten(1).abs().amax(1) / 127;
        var codes = (weight / scale.reshape([-1, .. Enumerable.Repeat(1L, (int)weight.dim() - 1)])).round().to(ScalarType.Int8);
        var biasScale = scale * inputScale;
        var axis = OnnxWriter.Attribute("axis", 0);
        return (
            Graph.Add("DequantizeLinear", [Graph.Constant(codes), Graph.Constant(scale), Graph.Constant(zeros_like(scale, ScalarType.Int8))], axis),
            Graph.Add("DequantizeLinear", [Graph.Constant((bias / biasScale).round().to(ScalarType.Int32)), Graph.Constant(biasScale)], axis));
    }
}
