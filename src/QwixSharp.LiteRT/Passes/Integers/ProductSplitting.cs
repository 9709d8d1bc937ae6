using QwixSharp.LiteRT.FlatBuffers;
using QwixSharp.LiteRT.Graphs;

namespace QwixSharp.LiteRT.Passes.Integers;

/// <summary>
/// A product that is split into parts with ranges of their own, as queries, keys and values are, becomes a product for each
/// part: one integer tensor has one scale.
/// </summary>
internal static class ProductSplitting
{
    internal static void Split(Graph graph)
    {
        var ranges = new IntegerRanges(graph);
        foreach (var split in graph.Ops.Where(o => o.Op is BuiltinOp.Split or BuiltinOp.SplitV).ToList())
        {
            var uses = new GraphUses(graph);
            bool even = split.Op == BuiltinOp.Split;
            var whole = split.Inputs[even ? 1 : 0]!;
            int axis = Rearrangements.Numbers(split.Inputs[even ? 0 : 2]!)[0];
            if (axis != whole.Rank - 1 || split.Outputs.Select(o => ranges.Of(o)?.Scale).Distinct().Count() < 2 || uses.OnlyFor(whole, BuiltinOp.FullyConnected) is not { } product)
                continue;
            int place = graph.Ops.IndexOf(split);
            long start = 0;
            List<GraphOp> parts = [];
            foreach (var output in split.Outputs)
            {
                long length = output.Shape[^1];
                GraphTensor? Part(GraphTensor? constant)
                {
                    if (constant is null)
                        return null;
                    var part = constant.Rows(start, length);
                    if (part.FakeQuant is { Scales.Length: > 1 } codes)
                        part.FakeQuant = codes with { Scales = codes.Scales[(int)start..(int)(start + length)] };
                    return part;
                }

                parts.Add(new GraphOp(product.Op, product.Place) { Inputs = [product.Inputs[0], Part(product.Inputs[1]), Part(product.Inputs[2])], Outputs = [output], Options = product.Options });
                start += length;
            }

            graph.Ops.InsertRange(place, parts);
            graph.Ops.Remove(split);
            graph.Ops.Remove(product);
        }
    }
}
