using static TorchSharp.torch;

namespace QwixSharp.Benchmarks.Peers;

/// <summary>ResNet-18.</summary>
/// <param name="network">torchvision's network.</param>
internal sealed class OnnxResNet(nn.Module network) : OnnxImageNetwork(network)
{
    /// <inheritdoc/>
    protected override Value Build(Value x)
    {
        x = Convolve(x, "conv1", "bn1", stride: 2, padding: 3, double.PositiveInfinity);
        x = Quantized(
            Graph.Add("MaxPool", [x.Name], OnnxWriter.Attribute("kernel_shape", [3, 3]), OnnxWriter.Attribute("strides", [2, 2]), OnnxWriter.Attribute("pads", [1, 1, 1, 1])),
            nn.functional.max_pool2d(x.Numbers, 3, 2, 1));
        for (var stage = 1; stage <= 4; stage++)
            for (var block = 0; Weights.ContainsKey($"layer{stage}.{block}.conv1.weight"); block++)
                x = Block(x, $"layer{stage}.{block}.", stage > 1 && block == 0 ? 2 : 1);
        return Classify(x, "fc");
    }

    private Value Block(Value x, string name, int stride)
    {
        var y = Convolve(x, name + "conv1", name + "bn1", stride, 1, double.PositiveInfinity);
        y = Convolve(y, name + "conv2", name + "bn2", 1, 1, highest: null);
        var shortcut = Weights.ContainsKey(name + "downsample.0.weight") ? Convolve(x, name + "downsample.0", name + "downsample.1", stride, 0, highest: null) : x;
        return Quantized(Graph.Add("Relu", [Graph.Add("Add", [y.Name, shortcut.Name])]), (y.Numbers + shortcut.Numbers).relu());
    }
}
