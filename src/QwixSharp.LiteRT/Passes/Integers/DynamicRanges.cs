using QwixSharp.LiteRT.FlatBuffers;
using QwixSharp.LiteRT.Graphs;

namespace QwixSharp.LiteRT.Passes.Integers;

/// <summary>Activations whose range is found at run time: LiteRT's products do that themselves where their weight is integers.</summary>
internal static class DynamicRanges
{
    internal static void Resolve(Graph graph)
    {
        var uses = new GraphUses(graph);
        foreach (var op in graph.Ops.Where(o => o.Op == BuiltinOp.FakeQuant && o.Output.FakeQuant!.IsDynamic).ToList())
        {
            Mark(op.Output, uses);
            graph.Ops.Remove(op);
            GraphPasses.Replace(graph, op.Output, op.Inputs[0]!);
        }
    }

    /// <summary>The products that read a tensor, as it is or moved into their order of axes.</summary>
    private static void Mark(GraphTensor tensor, GraphUses uses)
    {
        foreach (var reader in uses.Readers(tensor))
        {
            if (reader.Op is BuiltinOp.FullyConnected or BuiltinOp.Conv2D or BuiltinOp.DepthwiseConv2D)
                reader.IsHybrid = true;
            else if (reader.Op is BuiltinOp.Reshape or BuiltinOp.Transpose or BuiltinOp.Pad)
                Mark(reader.Output, uses);
        }
    }
}
