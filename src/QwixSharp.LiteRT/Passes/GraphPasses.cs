using QwixSharp.LiteRT.FlatBuffers;
using QwixSharp.LiteRT.Graphs;
using QwixSharp.LiteRT.Passes.Integers;

namespace QwixSharp.LiteRT.Passes;

/// <summary>Makes a graph smaller without changing what it computes.</summary>
internal static class GraphPasses
{
    internal static void Run(Graph graph, LiteRtOptions options)
    {
        bool quantized = graph.Ops.Any(o => o.Op == BuiltinOp.FakeQuant || o.Inputs.Any(i => i?.FakeQuant is not null));
        bool hasRanges = graph.Ops.Any(o => o.Output.FakeQuant is { IsDynamic: false });
        RemoveUnused(graph);
        Rearrangements.Simplify(graph);
        if (!hasRanges)
            SplitHoisting.Hoist(graph);
        AffineFolding.IntoProducers(graph);
        AffineFolding.IntoReaders(graph);
        SoftmaxScale.Fold(graph);
        ActivationFusion.Fuse(graph);
        if (quantized)
            IntegerPass.Run(graph, options);
        Rearrangements.Simplify(graph);
        RemoveUnused(graph);
        SeparateOutputs(graph);
    }

    /// <summary>Replaces a tensor wherever it is read.</summary>
    internal static void Replace(Graph graph, GraphTensor old, GraphTensor replacement)
    {
        foreach (var op in graph.Ops)
        {
            for (int i = 0; i < op.Inputs.Count; i++)
            {
                if (ReferenceEquals(op.Inputs[i], old))
                    op.Inputs[i] = replacement;
            }
        }

        for (int i = 0; i < graph.Outputs.Count; i++)
        {
            if (ReferenceEquals(graph.Outputs[i].Tensor, old))
                graph.Outputs[i] = (graph.Outputs[i].Name, replacement);
        }
    }

    private static void RemoveUnused(Graph graph)
    {
        HashSet<GraphTensor> needed = [.. graph.Outputs.Select(o => o.Tensor)];
        for (int i = graph.Ops.Count - 1; i >= 0; i--)
        {
            var op = graph.Ops[i];
            if (!op.Outputs.Any(needed.Contains))
                graph.Ops.RemoveAt(i);
            else
                needed.UnionWith(op.Inputs.OfType<GraphTensor>());
        }
    }

    /// <summary>A file's outputs are tensors of their own, which ops compute: neither inputs nor constants, and none twice.</summary>
    private static void SeparateOutputs(Graph graph)
    {
        HashSet<GraphTensor> taken = [.. graph.Inputs.Select(i => i.Tensor)];
        for (int i = 0; i < graph.Outputs.Count; i++)
        {
            var (name, tensor) = graph.Outputs[i];
            if (!tensor.IsConstant && taken.Add(tensor))
                continue;
            var copy = new GraphTensor(tensor.Type, tensor.Shape) { Quantization = tensor.Quantization };
            graph.Ops.Add(new GraphOp(BuiltinOp.Reshape, "the outputs") { Inputs = [tensor, Lowering.GraphBuilder.Ints(tensor.Shape)], Outputs = [copy] });
            graph.Outputs[i] = (name, copy);
        }
    }
}
