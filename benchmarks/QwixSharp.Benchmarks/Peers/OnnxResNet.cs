using static TorchSharp.torch;

namespace QwixSharp.Benchmarks.Peers;

/// <summary>
/// ResNet-18 as ONNX Runtime's static quantization makes it: batch normalization folded into the convolutions, int8 weights per
/// channel, uint8 activations with ranges of an example, and a pair of QuantizeLinear and DequantizeLinear at each value, which its
/// optimizer turns into integer ops.
/// </summary>
internal sealed class OnnxResNet
{
    private const double NormEpsilon = 1e-5;

    private readonly OnnxGraph _graph = new();
    private readonly Dictionary<string, Tensor> _weights;

    private OnnxResNet(nn.Module network) => _weights = network.state_dict();

    /// <summary>A value of the graph: its name, the example's numbers, and the scale that it is quantized with.</summary>
    private sealed record Value(string Name, Tensor Numbers, float Scale);

    /// <summary>The model, with the input <c>x</c> of the example's shape.</summary>
    /// <param name="network">torchvision's network.</param>
    /// <param name="example">[batch, 3, height, width].</param>
    public static byte[] Of(nn.Module network, Tensor example)
    {
        using var scope = NewDisposeScope();
        return new OnnxResNet(network).Build(example);
    }

    private byte[] Build(Tensor example)
    {
        var x = Convolve(Quantized("x", example), "conv1", "bn1", stride: 2, padding: 3, relu: true);
        x = Quantized(
            _graph.Add("MaxPool", [x.Name], OnnxWriter.Attribute("kernel_shape", [3, 3]), OnnxWriter.Attribute("strides", [2, 2]), OnnxWriter.Attribute("pads", [1, 1, 1, 1])),
            nn.functional.max_pool2d(x.Numbers, 3, 2, 1));
        for (var stage = 1; stage <= 4; stage++)
            for (var block = 0; _weights.ContainsKey($"layer{stage}.{block}.conv1.weight"); block++)
                x = Block(x, $"layer{stage}.{block}.", stage > 1 && block == 0 ? 2 : 1);
        x = Quantized(_graph.Add("GlobalAveragePool", [x.Name]), x.Numbers.mean([2, 3], keepdim: true));
        x = Quantized(_graph.Add("Flatten", [x.Name]), x.Numbers.flatten(1));
        var (weight, bias) = Constants(_weights["fc.weight"], _weights["fc.bias"], x.Scale);
        var y = Quantized(_graph.Add("Gemm", [x.Name, weight, bias], OnnxWriter.Attribute("transB", 1)), nn.functional.linear(x.Numbers, _weights["fc.weight"], _weights["fc.bias"]));
        return _graph.Model([OnnxWriter.Value("x", OnnxWriter.Float, example.shape)], y.Name, y.Numbers.shape);
    }

    private Value Block(Value x, string name, int stride)
    {
        var y = Convolve(x, name + "conv1", name + "bn1", stride, 1, relu: true);
        y = Convolve(y, name + "conv2", name + "bn2", 1, 1, relu: false);
        var shortcut = _weights.ContainsKey(name + "downsample.0.weight") ? Convolve(x, name + "downsample.0", name + "downsample.1", stride, 0, relu: false) : x;
        return Quantized(_graph.Add("Relu", [_graph.Add("Add", [y.Name, shortcut.Name])]), (y.Numbers + shortcut.Numbers).relu());
    }

    private Value Convolve(Value x, string name, string norm, int stride, int padding, bool relu)
    {
        var factor = _weights[norm + ".weight"] / (_weights[norm + ".running_var"] + NormEpsilon).sqrt();
        var weight = _weights[name + ".weight"] * factor.reshape(-1, 1, 1, 1);
        var bias = _weights[norm + ".bias"] - _weights[norm + ".running_mean"] * factor;
        var (codes, addend) = Constants(weight, bias, x.Scale);
        var y = _graph.Add("Conv", [x.Name, codes, addend], OnnxWriter.Attribute("strides", [stride, stride]), OnnxWriter.Attribute("pads", [padding, padding, padding, padding]));
        var numbers = nn.functional.conv2d(x.Numbers, weight, bias, strides: [stride, stride], padding: [padding, padding]);
        return relu ? Quantized(_graph.Add("Relu", [y]), numbers.relu()) : Quantized(y, numbers);
    }

    /// <summary>A weight in int8 with a scale for each of its first axis, and its bias in int32, both dequantized.</summary>
    private (string Weight, string Bias) Constants(Tensor weight, Tensor bias, float inputScale)
    {
        var scale = weight.flatten(1).abs().amax(1) / 127;
        var codes = (weight / scale.reshape([-1, .. Enumerable.Repeat(1L, (int)weight.dim() - 1)])).round().to(ScalarType.Int8);
        var biasScale = scale * inputScale;
        var axis = OnnxWriter.Attribute("axis", 0);
        return (
            _graph.Add("DequantizeLinear", [_graph.Constant(codes), _graph.Constant(scale), _graph.Constant(zeros_like(scale, ScalarType.Int8))], axis),
            _graph.Add("DequantizeLinear", [_graph.Constant((bias / biasScale).round().to(ScalarType.Int32)), _graph.Constant(biasScale)], axis));
    }

    private Value Quantized(string name, Tensor numbers)
    {
        var low = Math.Min(0, numbers.min().item<float>());
        var scale = (Math.Max(0, numbers.max().item<float>()) - low) / 255;
        string[] parameters = [_graph.Constant(scale), _graph.Constant((byte)MathF.Round(-low / scale))];
        return new(_graph.Add("DequantizeLinear", [_graph.Add("QuantizeLinear", [name, .. parameters]), .. parameters]), numbers, scale);
    }
}
