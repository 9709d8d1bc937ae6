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
        for (int i = 0; i < layers.Length; i++)
        {
            layers[i] = (PackedLinear)nodes[i].Payload!;
            biases[i] = nodes[i].Operands.Length > 1 ? nodes[i].Operands[1] : null;
        }

        using var copy = input.IsContiguous ? null : graph.Value(node, 0).contiguous();
        // A view without gaps is read where it lies.
        var x = copy is null ? input : StridedTensor.Of(copy);
        if (!PackedLinear.CanComputeGroup(x, layers, biases))
            return false;
        var outputs = new NodeOutput[layers.Length];
        var results = new nint[layers.Length];
        try
        {
            for (int i = 0; i < outputs.Length; i++)
            {
                outputs[i] = new NodeOutput(nodes[i], graph);
                results[i] = outputs[i].Address;
            }

            PackedLinear.ComputeGroup(x, layers, biases, results);
            foreach (var output in outputs)
                output.Give(graph);
        }
        finally
        {
            foreach (var output in outputs)
                output.Dispose();
        }

        return true;
    }
}
