using QwixSharp.LiteRT.FlatBuffers;
using QwixSharp.LiteRT.Graphs;
using QwixSharp.Providers.Odml;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Passes.Integers;

/// <summary>Which ops LiteRT computes on integers, and what it asks of their scales.</summary>
internal static class IntegerOps
{
    /// <summary>Products with constant weights: their output has any scale.</summary>
    internal static readonly HashSet<BuiltinOp> Products = [BuiltinOp.Conv2D, BuiltinOp.DepthwiseConv2D, BuiltinOp.TransposeConv, BuiltinOp.FullyConnected];

    /// <summary>Ops whose inputs and outputs may have any scales.</summary>
    private static readonly HashSet<BuiltinOp> Rescaling =
    [
        BuiltinOp.Add, BuiltinOp.Sub, BuiltinOp.Mul, BuiltinOp.BatchMatmul, BuiltinOp.Mean, BuiltinOp.Sum, BuiltinOp.Relu, BuiltinOp.Relu6, BuiltinOp.LeakyRelu, BuiltinOp.SquaredDifference,
        BuiltinOp.Prelu, BuiltinOp.HardSwish, BuiltinOp.Gelu, BuiltinOp.Elu, BuiltinOp.Exp, BuiltinOp.Log, BuiltinOp.Rsqrt, BuiltinOp.Abs,
    ];

    /// <summary>Of these, what LiteRT has for int16 too, and exact to a code or two: EXP is not.</summary>
    private static readonly HashSet<BuiltinOp> Rescaling16 =
    [
        BuiltinOp.Add, BuiltinOp.Sub, BuiltinOp.Mul, BuiltinOp.BatchMatmul, BuiltinOp.Mean, BuiltinOp.Relu, BuiltinOp.LeakyRelu, BuiltinOp.Gelu,
    ];

    /// <summary>Ops whose outputs have the codes of their inputs.</summary>
    private static readonly HashSet<BuiltinOp> Moving =
    [
        BuiltinOp.Reshape, BuiltinOp.Transpose, BuiltinOp.Split, BuiltinOp.SplitV, BuiltinOp.Slice, BuiltinOp.StridedSlice, BuiltinOp.Gather, BuiltinOp.Pad, BuiltinOp.MirrorPad, BuiltinOp.Tile,
        BuiltinOp.BroadcastTo, BuiltinOp.Concatenation, BuiltinOp.MaxPool2D, BuiltinOp.AveragePool2D, BuiltinOp.ResizeBilinear, BuiltinOp.ResizeNearestNeighbor, BuiltinOp.ReverseV2,
        BuiltinOp.ReduceMax, BuiltinOp.ReduceMin, BuiltinOp.Maximum, BuiltinOp.Minimum, BuiltinOp.SelectV2, BuiltinOp.Padv2,
    ];

    internal static bool Moves(GraphOp op) => Moving.Contains(op.Op) && !op.KeepsFractions && !IsMasked(op);

    /// <summary>Whether an op that moves codes has an exact kernel for a type.</summary>
    internal static bool IsExact(GraphOp op, LiteRtType type) => type != LiteRtType.Int16 || op.Op != BuiltinOp.ResizeBilinear;

    /// <summary>Whether an op cuts values off: where nothing else is known, its input has the codes of the output.</summary>
    internal static bool Cuts(GraphOp op) => op.Op is BuiltinOp.Relu or BuiltinOp.Relu6
        || (op.Op is BuiltinOp.Maximum or BuiltinOp.Minimum && op.Inputs.Any(i => i is { IsConstant: true }));

    internal static bool Rescales(GraphOp op, LiteRtType type) => (type == LiteRtType.Int16 ? Rescaling16 : Rescaling).Contains(op.Op);

    /// <summary>The only output scale and zero point that LiteRT's integer kernel has; null where it takes any.</summary>
    internal static (double Scale, long ZeroPoint)? FixedOutput(BuiltinOp op, LiteRtType type) => (op, type) switch
    {
        (BuiltinOp.Softmax or BuiltinOp.Logistic, LiteRtType.Int8) => (1.0 / 256, -128),
        (BuiltinOp.Tanh, LiteRtType.Int8) => (1.0 / 128, 0),
        (BuiltinOp.LogSoftmax, LiteRtType.Int8) => (16.0 / 256, 127),
        (BuiltinOp.Softmax or BuiltinOp.Logistic or BuiltinOp.Tanh, LiteRtType.Int16) => (1.0 / 32768, 0),
        _ => null,
    };

    /// <summary>The inputs of an op that hold values, rather than places, sizes or conditions.</summary>
    internal static IEnumerable<int> ValueInputs(GraphOp op) => op.Op switch
    {
        BuiltinOp.Split => [1],
        BuiltinOp.SelectV2 => [1, 2],
        BuiltinOp.TransposeConv => [2],
        BuiltinOp.Add or BuiltinOp.Sub or BuiltinOp.Mul or BuiltinOp.Div or BuiltinOp.Maximum or BuiltinOp.Minimum or BuiltinOp.BatchMatmul or BuiltinOp.SquaredDifference or BuiltinOp.Prelu => [0, 1],
        BuiltinOp.Padv2 => [0, 2],
        BuiltinOp.Concatenation => Enumerable.Range(0, op.Inputs.Count),
        _ => [0],
    };

    /// <summary>Whether an op puts a number into places that a softmax shall not see: no codes hold both that and the scores.</summary>
    private static bool IsMasked(GraphOp op) =>
        op.Op == BuiltinOp.SelectV2 && ValueInputs(op).Any(i => op.Inputs[i]!.Constant is { } constant && !(constant.abs().max().to(ScalarType.Float64).item<double>() < Masks.Huge));
}
