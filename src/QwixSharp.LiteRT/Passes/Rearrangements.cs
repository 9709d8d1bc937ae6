using QwixSharp.LiteRT.FlatBuffers;
using QwixSharp.LiteRT.Graphs;
using QwixSharp.LiteRT.Lowering;

namespace QwixSharp.LiteRT.Passes;

/// <summary>Takes out moves of data that undo or follow one another.</summary>
internal static class Rearrangements
{
    /// <summary>Ops that broadcast their operands themselves.</summary>
    private static readonly HashSet<BuiltinOp> Broadcasting =
    [
        BuiltinOp.Add, BuiltinOp.Sub, BuiltinOp.Mul, BuiltinOp.Div, BuiltinOp.Maximum, BuiltinOp.Minimum, BuiltinOp.SquaredDifference,
        BuiltinOp.Less, BuiltinOp.LessEqual, BuiltinOp.Greater, BuiltinOp.GreaterEqual, BuiltinOp.Equal, BuiltinOp.NotEqual, BuiltinOp.SelectV2,
    ];

    internal static void Simplify(Graph graph)
    {
        bool changed = true;
        while (changed)
        {
            changed = false;
            var uses = new GraphUses(graph);
            foreach (var op in graph.Ops.ToList())
                changed |= Simplify(graph, op, uses);
        }
    }

    private static bool Simplify(Graph graph, GraphOp op, GraphUses uses)
    {
        var input = op.Inputs.Count > 0 ? op.Inputs[0] : null;
        switch (op.Op)
        {
            case BuiltinOp.Reshape when input!.Shape.SequenceEqual(op.Output.Shape):
            case BuiltinOp.Transpose when Permutation(op).SequenceEqual(Axes.Identity(input!.Rank)):
                return Bypass(graph, op, input!);
            case BuiltinOp.Reshape when uses.Producer(input) is { Op: BuiltinOp.Reshape } before:
                op.Inputs[0] = before.Inputs[0];
                return true;
            case BuiltinOp.Transpose when uses.Producer(input) is { Op: BuiltinOp.Transpose } before:
                op.Inputs[1] = GraphBuilder.Ints(Axes.Pick(Permutation(before), Permutation(op)));
                op.Inputs[0] = before.Inputs[0];
                return true;
            case BuiltinOp.BroadcastTo when !uses.IsOutput(op.Output) && uses.Readers(op.Output).All(r => BroadcastsAnyway(r, op.Output, input!)):
                return Bypass(graph, op, input!);
            default:
                return false;
        }
    }

    private static bool BroadcastsAnyway(GraphOp reader, GraphTensor expanded, GraphTensor original)
    {
        if (!Broadcasting.Contains(reader.Op))
            return false;
        var shapes = reader.Inputs.Select(i => (ReferenceEquals(i, expanded) ? original : i!).Shape);
        return GraphBuilder.Broadcast(shapes, reader.Output.Rank).SequenceEqual(reader.Output.Shape);
    }

    private static bool Bypass(Graph graph, GraphOp op, GraphTensor input)
    {
        graph.Ops.Remove(op);
        GraphPasses.Replace(graph, op.Output, input);
        return true;
    }

    internal static int[] Permutation(GraphOp transpose) => Numbers(transpose.Inputs[1]!);

    internal static int[] Numbers(GraphTensor constant) => constant.Constant!.data<int>().ToArray();
}
