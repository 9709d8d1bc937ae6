using static TorchSharp.torch;

namespace QwixSharp.Benchmarks.Peers;

/// <summary>MobileNetV2.</summary>
/// <param name="network">torchvision's network.</param>
internal sealed class OnnxMobileNet(nn.Module network) : OnnxImageNetwork(network)
{
    private const double Highest = 6;

    /// <summary>The blocks whose depthwise convolution halves the image.</summary>
    private static readonly int[] Halving = [2, 4, 7, 14];

    /// <inheritdoc/>
    protected override Value Build(Value x)
    {
        x = Convolve(x, "features.0.0", "features.0.1", stride: 2, padding: 1, Highest);
        var block = 1;
        for (; Weights.ContainsKey($"features.{block}.conv.0.0.weight"); block++)
            x = Block(x, $"features.{block}.conv.", Halving.Contains(block) ? 2 : 1);
        x = Convolve(x, $"features.{block}.0", $"features.{block}.1", stride: 1, padding: 0, Highest);
        return Classify(x, "classifier.1");
    }

    private Value Block(Value x, string name, int stride)
    {
        var y = x;
        var part = 0;
        // The first block does not expand its input.
        if (Weights.ContainsKey(name + "3.weight"))
            y = Convolve(y, $"{name}{part}.0", $"{name}{part++}.1", 1, 0, Highest);
        y = Convolve(y, $"{name}{part}.0", $"{name}{part++}.1", stride, 1, Highest);
        y = Convolve(y, $"{name}{part}", $"{name}{part + 1}", 1, 0, highest: null);
        return stride == 1 && x.Numbers.size(1) == y.Numbers.size(1) ? Quantized(Graph.Add("Add", [y.Name, x.Name]), y.Numbers + x.Numbers) : y;
    }
}
