using QwixSharp.Interception.Deferred;
using QwixSharp.Ops;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Fusion;

/// <summary>Linear layers of one input, computed together as soon as one of them is needed.</summary>
internal static class LinearGroup
{
    private const int MostLayers = 8;

    /// <summary>Computes a layer, and those that wait for the same input.</summary>
    internal static bool TryCompute(DeferredNode node, DeferredGraph graph)
    {
        var input = NodeInput.Of(node, 0).View(graph);
        var nodes = graph.WaitingFor(node, MostLayers);
        var layers = new PackedLinear[nodes.Count];
        var biases = new Tensor?[nodes.Count];
        var results = new Tensor[nodes.Count];
        for (int i = 0; i < layers.Length; i++)
        {
            layers[i] = (PackedLinear)nodes[i].Payload!;
            biases[i] = nodes[i].Operands.Length > 1 ? nodes[i].Operands[1] : null;
        }

        // A view without gaps is read where it lies.
        bool isComputed = input.IsContiguous
            ? PackedLinear.TryComputeGroup(input, layers, biases, results)
            : PackedLinear.TryComputeGroup(graph.Value(node, 0), layers, biases, results);
        if (!isComputed)
            return false;
        for (int i = 0; i < layers.Length; i++)
            graph.Give(nodes[i], results[i]);
        return true;
    }
}
