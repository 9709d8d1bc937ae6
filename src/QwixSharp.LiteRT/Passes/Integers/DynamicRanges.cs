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
            foreach (var reader in uses.Readers(op.Output))
                reader.IsHybrid = reader.Op is BuiltinOp.FullyConnected or BuiltinOp.Conv2D or BuiltinOp.DepthwiseConv2D;
            graph.Ops.Remove(op);
            GraphPasses.Replace(graph, op.Output, op.Inputs[0]!);
        }
    }
}
