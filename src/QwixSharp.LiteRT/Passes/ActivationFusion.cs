using QwixSharp.LiteRT.FlatBuffers;
using QwixSharp.LiteRT.Graphs;

namespace QwixSharp.LiteRT.Passes;

/// <summary>An activation becomes an option of the op before it.</summary>
internal static class ActivationFusion
{
    /// <summary>Numbers of ActivationFunctionType in the schema.</summary>
    private static readonly Dictionary<BuiltinOp, double> Activations = new() { [BuiltinOp.Relu] = 1, [BuiltinOp.ReluN1To1] = 2, [BuiltinOp.Relu6] = 3 };

    private static readonly HashSet<BuiltinOp> Takers =
    [
        BuiltinOp.Conv2D, BuiltinOp.DepthwiseConv2D, BuiltinOp.FullyConnected, BuiltinOp.Add, BuiltinOp.Sub, BuiltinOp.Mul, BuiltinOp.Div, BuiltinOp.AveragePool2D, BuiltinOp.MaxPool2D,
    ];

    internal static void Fuse(Graph graph)
    {
        foreach (var activation in graph.Ops.Where(o => Activations.ContainsKey(o.Op)).ToList())
        {
            var uses = new GraphUses(graph);
            if (uses.OnlyFor(activation.Inputs[0]) is not { } taker || !Takers.Contains(taker.Op) || taker.Option("fused_activation_function") != 0 || taker.Output.Type != LiteRtType.Float32)
                continue;
            taker.Options["fused_activation_function"] = Activations[activation.Op];
            taker.Outputs[0] = activation.Output;
            graph.Ops.Remove(activation);
        }
    }
}
