using Onnx;
using QwixSharp.Samples.Common;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace QwixSharp.Samples.ResNet18;

/// <summary>ResNet-18 as ML.NET's package <c>Microsoft.ML.DnnImageFeaturizer.ResNet18</c> carries it: two ONNX files, one with the mean image, one with the weights.</summary>
public static class PretrainedResNet18
{
    private static readonly string Folder = Path.Combine(AppContext.BaseDirectory, "model");

    /// <summary>The image that is subtracted from every input: float32, <c>[1, 3, 224, 224]</c>, channels blue, green, red, values 0 to 255.</summary>
    public static Tensor LoadMeanImage() => OnnxWeights.Read(Path.Combine(Folder, "ResNetPreprocess.onnx")).Weight("MeanImage");

    /// <summary>Makes the network with its pretrained weights, ready for inference.</summary>
    public static ResNet18 Load()
    {
        using var noGrad = no_grad();
        var weights = OnnxWeights.Read(Path.Combine(Folder, "ResNet18.onnx"));
        var network = new ResNet18();
        var norms = network.named_modules().Where(m => m.module is BatchNorm2d).ToDictionary(m => m.name, m => (BatchNorm2d)m.module);

        // The file's weights are numbered. Its convolutions run in the order of the modules, save that the one on the
        // shortcut comes before its block's others.
        var modules = network.named_modules()
            .Where(m => m.module is Conv2d)
            .Select(m => (m.name, Convolution: (Conv2d)m.module))
            .OrderBy(m => BlockOf(m.name), StringComparer.Ordinal)
            .ThenBy(m => !IsShortcut(m.name))
            .ThenBy(m => m.name, StringComparer.Ordinal)
            .ToList();
        var nodes = weights.Nodes.Where(n => n.OpType == "Conv").ToList();
        if (modules.Count != nodes.Count)
            throw new InvalidDataException($"The file has {nodes.Count} convolutions, and the network {modules.Count}.");

        foreach (var ((name, convolution), node) in modules.Zip(nodes))
        {
            Copy(weights, node.Input[1], convolution.weight, name);
            CopyNorm(weights, weights.ConsumerOf(node.Output[0], "BatchNormalization"), norms[NormOf(name)], name);
        }

        network.eval();
        return network;
    }

    private static bool IsShortcut(string name) => name.Contains(".downsample.", StringComparison.Ordinal);

    private static string BlockOf(string name) => name.StartsWith("layer", StringComparison.Ordinal) ? name[.."layer1.0".Length] : "";

    private static string NormOf(string convolution) =>
        IsShortcut(convolution) ? convolution[..^1] + "1" : convolution.Replace("conv", "bn", StringComparison.Ordinal);

    private static void CopyNorm(OnnxWeights weights, NodeProto node, BatchNorm2d norm, string name)
    {
        Copy(weights, node.Input[1], norm.weight, name);
        Copy(weights, node.Input[2], norm.bias, name);
        Copy(weights, node.Input[3], norm.running_mean, name);
        Copy(weights, node.Input[4], norm.running_var, name);
    }

    private static void Copy(OnnxWeights weights, string from, Tensor? to, string name)
    {
        using var value = weights.Weight(from);
        if (to is null || !to.shape.SequenceEqual(value.shape))
            throw new InvalidDataException($"'{from}' has the shape [{string.Join(", ", value.shape)}], which does not fit at '{name}'.");
        to.copy_(value);
    }
}
