using QwixSharp.LiteRT.FlatBuffers;
using QwixSharp.LiteRT.Graphs;
using QwixSharp.LiteRT.Lowering;

namespace QwixSharp.LiteRT.Passes;

/// <summary>
/// Queries, keys and values that come of one product are split, and each is brought into heads in the same way. Here that is
/// done once, before they are split.
/// </summary>
internal static class SplitHoisting
{
    internal static void Hoist(Graph graph)
    {
        foreach (var split in graph.Ops.Where(o => o.Op == BuiltinOp.Split).ToList())
            Hoist(graph, split);
    }

    private static void Hoist(Graph graph, GraphOp split)
    {
        var uses = new GraphUses(graph);
        var whole = split.Inputs[1]!;
        int axis = Rearrangements.Numbers(split.Inputs[0]!)[0];
        if (axis != whole.Rank - 1 || split.Outputs.Any(uses.IsOutput) || Only(split.Outputs, uses, BuiltinOp.Reshape) is not { } reshapes)
            return;
        int[] shape = reshapes[0].Output.Shape;
        int heads = axis;
        if (shape.Length <= axis || reshapes.Any(r => !r.Output.Shape.SequenceEqual(shape)) || !shape[..axis].SequenceEqual(whole.Shape[..axis]))
            return;

        int parts = split.Outputs.Count;
        int[] wide = [.. shape];
        wide[heads] *= parts;
        var place = graph.Ops.IndexOf(split);
        var reshaped = new GraphTensor(whole.Type, wide);
        List<GraphOp> added = [new(BuiltinOp.Reshape, split.Place) { Inputs = [whole, GraphBuilder.Ints(wide)], Outputs = [reshaped] }];
        var moves = Only([.. reshapes.Select(r => r.Output)], uses, BuiltinOp.Transpose);
        List<GraphOp> last = reshapes;
        if (moves is not null && moves.All(m => Rearrangements.Permutation(m).SequenceEqual(Rearrangements.Permutation(moves[0]))))
        {
            int[] permutation = Rearrangements.Permutation(moves[0]);
            var moved = new GraphTensor(whole.Type, Axes.Pick(wide, permutation));
            added.Add(new(BuiltinOp.Transpose, split.Place) { Inputs = [reshaped, GraphBuilder.Ints(permutation)], Outputs = [moved] });
            (reshaped, heads, last) = (moved, Array.IndexOf(permutation, heads), moves);
        }

        added.Add(new(BuiltinOp.Split, split.Place) { Inputs = [GraphBuilder.Scalar(heads, LiteRtType.Int32), reshaped], Outputs = [.. last.Select(l => l.Output)], Options = split.Options });
        graph.Ops.InsertRange(place, added);
        graph.Ops.Remove(split);
        graph.Ops.RemoveAll(o => reshapes.Contains(o) || (ReferenceEquals(last, moves) && moves!.Contains(o)));
    }

    /// <summary>The one reader of each tensor, if all are ops of a kind.</summary>
    private static List<GraphOp>? Only(IReadOnlyList<GraphTensor> tensors, GraphUses uses, BuiltinOp kind)
    {
        List<GraphOp> readers = [];
        foreach (var tensor in tensors)
        {
            if (uses.IsOutput(tensor) || uses.Readers(tensor) is not [var reader] || reader.Op != kind)
                return null;
            readers.Add(reader);
        }

        return readers;
    }
}
