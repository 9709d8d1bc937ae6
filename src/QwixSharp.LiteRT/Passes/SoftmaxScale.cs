using QwixSharp.LiteRT.FlatBuffers;
using QwixSharp.LiteRT.Graphs;
using QwixSharp.LiteRT.Lowering;

namespace QwixSharp.LiteRT.Passes;

/// <summary>
/// A number by which scores are multiplied before a softmax is that op's own β; where a constant mask is added in between, this is divided
/// by it.
/// </summary>
internal static class SoftmaxScale
{
    internal static void Fold(Graph graph)
    {
        foreach (var softmax in graph.Ops.Where(o => o.Op == BuiltinOp.Softmax).ToList())
        {
            var uses = new GraphUses(graph);
            var mask = uses.OnlyFor(softmax.Inputs[0], BuiltinOp.Add) is { } add && add.Inputs[1]!.IsConstant ? add : null;
            var scaled = mask is null ? softmax : mask;
            if (uses.OnlyFor(scaled.Inputs[0]) is not { Op: BuiltinOp.Mul or BuiltinOp.Div } scaling || scaling.Inputs[1] is not { IsConstant: true, Elements: 1 } number)
                continue;
            double factor = number.Constant!.to(TorchSharp.torch.ScalarType.Float64).item<double>();
            factor = scaling.Op == BuiltinOp.Div ? 1 / factor : factor;
            if (!(factor > 0) || !double.IsFinite(factor) || !scaling.Inputs[0]!.Shape.SequenceEqual(scaling.Output.Shape))
                continue;
            softmax.Options["beta"] = softmax.Option("beta") * factor;
            if (mask is not null)
                mask.Inputs[1] = GraphBuilder.Constant(mask.Inputs[1]!.Constant! / factor, mask.Inputs[1]!.Name);
            scaled.Inputs[0] = scaling.Inputs[0];
            graph.Ops.Remove(scaling);
        }
    }
}
