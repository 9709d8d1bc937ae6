using QwixSharp.LiteRT.Capture;
using QwixSharp.LiteRT.FlatBuffers;
using QwixSharp.LiteRT.Graphs;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Lowering;

/// <summary>Comparisons, logic, and choice by truth values.</summary>
internal static class Comparisons
{
    internal static readonly Dictionary<string, LowerOp> Ops = new()
    {
        ["eq"] = n => Compare(n, BuiltinOp.Equal),
        ["op_Equality"] = n => Compare(n, BuiltinOp.Equal),
        ["ne"] = n => Compare(n, BuiltinOp.NotEqual),
        ["not_equal"] = n => Compare(n, BuiltinOp.NotEqual),
        ["op_Inequality"] = n => Compare(n, BuiltinOp.NotEqual),
        ["lt"] = n => Compare(n, BuiltinOp.Less),
        ["less"] = n => Compare(n, BuiltinOp.Less),
        ["op_LessThan"] = n => Compare(n, BuiltinOp.Less),
        ["le"] = n => Compare(n, BuiltinOp.LessEqual),
        ["less_equal"] = n => Compare(n, BuiltinOp.LessEqual),
        ["op_LessThanOrEqual"] = n => Compare(n, BuiltinOp.LessEqual),
        ["gt"] = n => Compare(n, BuiltinOp.Greater),
        ["greater"] = n => Compare(n, BuiltinOp.Greater),
        ["op_GreaterThan"] = n => Compare(n, BuiltinOp.Greater),
        ["ge"] = n => Compare(n, BuiltinOp.GreaterEqual),
        ["greater_equal"] = n => Compare(n, BuiltinOp.GreaterEqual),
        ["op_GreaterThanOrEqual"] = n => Compare(n, BuiltinOp.GreaterEqual),
        ["logical_and"] = n => Logic(n, BuiltinOp.LogicalAnd),
        ["op_BitwiseAnd"] = n => Logic(n, BuiltinOp.LogicalAnd),
        ["bitwise_and"] = n => Logic(n, BuiltinOp.LogicalAnd),
        ["logical_or"] = n => Logic(n, BuiltinOp.LogicalOr),
        ["op_BitwiseOr"] = n => Logic(n, BuiltinOp.LogicalOr),
        ["bitwise_or"] = n => Logic(n, BuiltinOp.LogicalOr),
        ["logical_xor"] = n => Logic(n, BuiltinOp.NotEqual),
        ["op_ExclusiveOr"] = n => Logic(n, BuiltinOp.NotEqual),
        ["logical_not"] = Not,
        ["bitwise_not"] = Not,
        ["op_OnesComplement"] = Not,
        ["where"] = Where,
        ["masked_fill"] = n => [Select(n.Builder, n.Input(1), n.Operand(2, n.Type), n.Input(0))],
    };

    /// <summary>Elements of one tensor where a condition holds, else of another.</summary>
    internal static View Select(GraphBuilder builder, View condition, View yes, View no)
    {
        var (tensors, order, shape) = builder.Align(condition, yes, no);
        int[] physical = GraphBuilder.Broadcast(tensors.Select(t => t.Shape), tensors.Max(t => t.Rank));
        return new View(builder.Emit(BuiltinOp.SelectV2, tensors, physical, yes.Type), order, shape);
    }

    private static View[] Compare(Node node, BuiltinOp op)
    {
        var type = Common(node);
        return [Arithmetic.Combine(node.Builder, op, node.Operand(0, type), node.Operand(1, type), LiteRtType.Bool)];
    }

    /// <summary>The type in which PyTorch compares two operands; a number takes the tensor's, but for a fraction against integers.</summary>
    private static LiteRtType Common(Node node)
    {
        ScalarType[] types = [.. new[] { node.Argument(0), node.Argument(1) }.OfType<CapturedTensor>().Select(t => t.Dtype)];
        var common = types.Aggregate(promote_types);
        bool fraction = new[] { node.Argument(0), node.Argument(1) }.Any(a => a is float or double or Scalar { Type: ScalarType.Float32 or ScalarType.Float64 });
        return fraction && !is_floating_point(common) ? LiteRtType.Float32 : ElementTypes.Of(common, node.Op);
    }

    private static View[] Logic(Node node, BuiltinOp op)
    {
        if (node.Input(0).Type != LiteRtType.Bool && node.Op.Contains("bitwise", StringComparison.OrdinalIgnoreCase))
            throw node.Error("LiteRT has it for truth values only");
        return [Arithmetic.Combine(node.Builder, op, Truth(node, 0), Truth(node, 1), LiteRtType.Bool)];
    }

    private static View[] Not(Node node) => node.Type == LiteRtType.Bool
        ? [node.Builder.Unary(BuiltinOp.LogicalNot, Truth(node, 0))]
        : throw node.Error("LiteRT has it for truth values only");

    private static View Truth(Node node, int argument) => node.Operand(argument, LiteRtType.Bool);

    /// <summary><c>torch.where(condition, x, y)</c> and <c>x.where(condition, y)</c>.</summary>
    private static View[] Where(Node node) => node.Named("x") is null
        ? [Select(node.Builder, node.Input(1), node.Operand(0, node.Type), node.Operand(2, node.Type))]
        : [Select(node.Builder, node.Input(0), node.Operand(1, node.Type), node.Operand(2, node.Type))];
}
