using QwixSharp.LiteRT.FlatBuffers;
using QwixSharp.LiteRT.Graphs;

namespace QwixSharp.LiteRT;

/// <summary>The version of each op that a runtime must know for what is asked of it.</summary>
internal static class OpVersions
{
    internal static int Of(GraphOp op)
    {
        var type = (op.Inputs.OfType<GraphTensor>().FirstOrDefault(t => !t.IsConstant) ?? op.Output).Type;
        bool int4 = op.Inputs.Any(t => t?.Type == LiteRtType.Int4);
        return (op.Op, type) switch
        {
            (BuiltinOp.FullyConnected, _) when int4 => 10,
            (BuiltinOp.FullyConnected, LiteRtType.Int16) => 7,
            (BuiltinOp.FullyConnected, _) when op.Inputs.Count < 3 || op.Inputs[2] is null => 6,
            (BuiltinOp.FullyConnected, _) when op.Option("keep_num_dims") != 0 => 5,
            (BuiltinOp.FullyConnected, LiteRtType.Int8) => 4,
            (BuiltinOp.Conv2D or BuiltinOp.DepthwiseConv2D, _) when int4 => 7,
            (BuiltinOp.Conv2D, LiteRtType.Int16) => op.Option("quantized_bias_type") == 0 ? 4 : 8,
            (BuiltinOp.DepthwiseConv2D, LiteRtType.Int16) => 5,
            (BuiltinOp.Conv2D or BuiltinOp.DepthwiseConv2D, LiteRtType.Int8) => 3,
            (BuiltinOp.TransposeConv, _) when op.Option("quantized_bias_type") != 0 => 5,
            (BuiltinOp.TransposeConv, _) when op.Inputs.Count > 3 && op.Inputs[3] is not null => 3,
            (BuiltinOp.BroadcastTo, _) => 2, // the first that runtimes have
            (BuiltinOp.ResizeBilinear, _) => 3,
            (BuiltinOp.ResizeNearestNeighbor, _) => 3,
            (BuiltinOp.Quantize, _) => op.Output.Type == LiteRtType.Int16 || type == LiteRtType.Int16 ? 3 : 2,
            (BuiltinOp.Add or BuiltinOp.Sub or BuiltinOp.Mul or BuiltinOp.Mean or BuiltinOp.Softmax or BuiltinOp.Concatenation or BuiltinOp.AveragePool2D or BuiltinOp.MaxPool2D
                or BuiltinOp.Logistic or BuiltinOp.Tanh or BuiltinOp.BatchMatmul, LiteRtType.Int16) => 3,
            (BuiltinOp.Add or BuiltinOp.Sub or BuiltinOp.Mul or BuiltinOp.Mean or BuiltinOp.Softmax or BuiltinOp.Concatenation or BuiltinOp.AveragePool2D or BuiltinOp.MaxPool2D
                or BuiltinOp.Logistic or BuiltinOp.Tanh or BuiltinOp.BatchMatmul or BuiltinOp.Transpose or BuiltinOp.Pad or BuiltinOp.Gather or BuiltinOp.Dequantize, LiteRtType.Int8) => 2,
            _ => 1,
        };
    }
}
