using QwixSharp.LiteRT.Capture;
using QwixSharp.LiteRT.FlatBuffers;
using QwixSharp.LiteRT.Graphs;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Lowering;

/// <summary>Makes a graph of LiteRT ops of a captured model.</summary>
internal static class GraphLowering
{
    /// <param name="captured">The model.</param>
    /// <param name="channelsLast">Whether inputs and outputs of four axes are channels-last images in the file.</param>
    internal static Graph Lower(CapturedGraph captured, bool channelsLast)
    {
        var graph = new Graph();
        var builder = new GraphBuilder(graph);
        Dictionary<CapturedTensor, View> views = new(ReferenceEqualityComparer.Instance);

        View Find(CapturedTensor tensor)
        {
            if (views.TryGetValue(tensor, out var view))
                return view;
            var values = tensor.Constant!;
            // A number among tensors, which does not decide in what the op computes: TorchSharp makes float64 of every double.
            if (values is { dtype: ScalarType.Float64 } && values.dim() == 0)
                values = values.to(ScalarType.Float32);
            var constant = GraphBuilder.Constant(values, tensor.Name, builder.Place);
            constant.FakeQuant = tensor.FakeQuant;
            return views[tensor] = new View(constant);
        }

        foreach (var input in captured.Inputs)
        {
            int[] shape = [.. input.Shape.Select(s => checked((int)s))];
            int[] order = channelsLast && shape.Length == 4 ? Convolutions.ChannelsLast : Axes.Identity(shape.Length);
            var tensor = new GraphTensor(ElementTypes.Of(input.Dtype, $"The input \"{input.Name}\""), Axes.Pick(shape, Axes.Inverse(order)), input.Name);
            graph.Inputs.Add((input.Name, tensor));
            views[input] = new View(tensor, order, shape);
        }

        foreach (var node in captured.Nodes)
        {
            builder.Place = node.Place;
            if (node.Op == CapturedNode.FakeQuant)
            {
                var quantized = builder.Unary(BuiltinOp.FakeQuant, Find((CapturedTensor)node.Arguments[0]!));
                quantized.Tensor.FakeQuant = node.Results[0].FakeQuant;
                views[node.Results[0]] = quantized;
                continue;
            }

            var results = OpTable.All[node.Op](new Node(node, builder, Find));
            for (int i = 0; i < node.Results.Length; i++)
                views[node.Results[i]] = results[i];
        }

        builder.Place = "the outputs";
        foreach (var (name, output) in captured.Outputs)
        {
            var view = Find(output);
            graph.Outputs.Add((name, channelsLast && view.Rank == 4 ? builder.Arrange(view, Convolutions.ChannelsLast) : builder.Plain(view)));
        }

        return graph;
    }
}
