using QwixSharp.LiteRT.FlatBuffers;

namespace QwixSharp.LiteRT.Lowering;

/// <summary>Arithmetic of one or two operands.</summary>
internal static class Arithmetic
{
    internal static readonly Dictionary<string, LowerOp> Ops = new()
    {
        ["add"] = Add,
        ["op_Addition"] = Add,
        ["sub"] = Subtract,
        ["subtract"] = Subtract,
        ["op_Subtraction"] = Subtract,
        ["mul"] = n => Binary(n, BuiltinOp.Mul),
        ["multiply"] = n => Binary(n, BuiltinOp.Mul),
        ["op_Multiply"] = n => Binary(n, BuiltinOp.Mul),
        ["div"] = Divide,
        ["divide"] = Divide,
        ["true_divide"] = Divide,
        ["op_Division"] = Divide,
        ["floor_divide"] = n => Binary(n, BuiltinOp.FloorDiv),
        ["remainder"] = n => Binary(n, BuiltinOp.FloorMod),
        ["op_Modulus"] = n => Binary(n, BuiltinOp.FloorMod),
        ["maximum"] = n => Binary(n, BuiltinOp.Maximum),
        ["minimum"] = n => Binary(n, BuiltinOp.Minimum),
        ["fmax"] = n => Binary(n, BuiltinOp.Maximum),
        ["fmin"] = n => Binary(n, BuiltinOp.Minimum),
        ["pow"] = Power,
        ["square"] = n => Multiply(n, n.Operand(0, n.Type), n.Operand(0, n.Type)),
        ["addcmul"] = n => [Combine(n.Builder, BuiltinOp.Add, n.Input(0), Scaled(n, Combine(n.Builder, BuiltinOp.Mul, n.Input(1), n.Input(2)), n.Double(1, "value")))],
        ["addcdiv"] = n => [Combine(n.Builder, BuiltinOp.Add, n.Input(0), Scaled(n, Combine(n.Builder, BuiltinOp.Div, n.Input(1), n.Input(2)), n.Double(1, "value")))],
        ["lerp"] = n => [Combine(n.Builder, BuiltinOp.Add, n.Input(0), Combine(n.Builder, BuiltinOp.Mul, Combine(n.Builder, BuiltinOp.Sub, n.Input(1), n.Input(0)), n.Operand(2, n.Type)))],
        ["neg"] = n => Unary(n, BuiltinOp.Neg),
        ["negative"] = n => Unary(n, BuiltinOp.Neg),
        ["op_UnaryNegation"] = n => Unary(n, BuiltinOp.Neg),
        ["abs"] = n => Unary(n, BuiltinOp.Abs),
        ["absolute"] = n => Unary(n, BuiltinOp.Abs),
        ["sqrt"] = n => Unary(n, BuiltinOp.Sqrt),
        ["rsqrt"] = n => Unary(n, BuiltinOp.Rsqrt),
        ["exp"] = n => Unary(n, BuiltinOp.Exp),
        ["log"] = n => Unary(n, BuiltinOp.Log),
        ["sin"] = n => Unary(n, BuiltinOp.Sin),
        ["cos"] = n => Unary(n, BuiltinOp.Cos),
        ["floor"] = n => Unary(n, BuiltinOp.Floor),
        ["ceil"] = n => Unary(n, BuiltinOp.Ceil),
        ["round"] = Round,
        ["sign"] = n => Unary(n, BuiltinOp.Sign),
        ["reciprocal"] = n => [Combine(n.Builder, BuiltinOp.Div, Number(1, n.Type), n.Operand(0, n.Type))],
        ["log2"] = n => [Scaled(n, n.Builder.Unary(BuiltinOp.Log, n.Operand(0, n.Type)), 1 / Math.Log(2))],
        ["log10"] = n => [Scaled(n, n.Builder.Unary(BuiltinOp.Log, n.Operand(0, n.Type)), 1 / Math.Log(10))],
        ["clamp"] = Clamp,
        ["clip"] = Clamp,
        ["clamp_min"] = Clamp,
        ["clamp_max"] = Clamp,
    };

    /// <summary>A constant number.</summary>
    internal static View Number(double value, LiteRtType type = LiteRtType.Float32) => new(GraphBuilder.Scalar(value, type));

    /// <summary>An op of two tensors that are broadcast to one another.</summary>
    internal static View Combine(GraphBuilder builder, BuiltinOp op, View a, View b, LiteRtType? type = null)
    {
        var (tensors, order, shape) = builder.Align(a, b);
        int[] physical = GraphBuilder.Broadcast(tensors.Select(t => t.Shape), tensors.Max(t => t.Rank));
        return new View(builder.Emit(op, tensors, physical, type ?? a.Type), order, shape);
    }

    internal static View Scaled(Node node, View x, double factor) =>
        factor == 1 ? x : Combine(node.Builder, BuiltinOp.Mul, x, Number(factor, x.Type));

    private static View[] Unary(Node node, BuiltinOp op) => [node.Builder.Unary(op, node.Operand(0, node.Type))];

    private static View[] Binary(Node node, BuiltinOp op) => [Combine(node.Builder, op, node.Operand(0, node.Type), node.Operand(1, node.Type))];

    private static View[] Multiply(Node node, View a, View b) => [Combine(node.Builder, BuiltinOp.Mul, a, b)];

    private static View[] Add(Node node) => [Combine(node.Builder, BuiltinOp.Add, node.Operand(0, node.Type), Scaled(node, node.Operand(1, node.Type), node.Double(1, "alpha")))];

    private static View[] Subtract(Node node) => [Combine(node.Builder, BuiltinOp.Sub, node.Operand(0, node.Type), Scaled(node, node.Operand(1, node.Type), node.Double(1, "alpha")))];

    private static View[] Divide(Node node) => node.Named("rounding_mode")?.ToString() switch
    {
        null or "None" or "none" => Binary(node, BuiltinOp.Div),
        "Floor" or "floor" => Binary(node, BuiltinOp.FloorDiv),
        var other => throw node.Error($"division that rounds by {other} has no op in LiteRT"),
    };

    private static View[] Power(Node node)
    {
        var x = node.Operand(0, node.Type);
        return Node.Number(node.Argument(1)) switch
        {
            2 => Multiply(node, x, x),
            0.5 => [node.Builder.Unary(BuiltinOp.Sqrt, x)],
            -0.5 => [node.Builder.Unary(BuiltinOp.Rsqrt, x)],
            1 => [x],
            _ => Binary(node, BuiltinOp.Pow),
        };
    }

    private static View[] Round(Node node) => node.Long(0, "decimals") == 0
        ? Unary(node, BuiltinOp.Round)
        : throw node.Error("LiteRT rounds to whole numbers only");

    private static View[] Clamp(Node node)
    {
        var x = node.Operand(0, node.Type);
        if (Node.Number(node.Named("min")) is 0 && node.Type == LiteRtType.Float32 && Node.Number(node.Named("max")) is null or 6 && node.Optional("max") is null)
            return [node.Builder.Unary(Node.Number(node.Named("max")) is null ? BuiltinOp.Relu : BuiltinOp.Relu6, x)];
        if (Bound(node, "min") is { } low)
            x = Combine(node.Builder, BuiltinOp.Maximum, x, low);
        if (Bound(node, "max") is { } high)
            x = Combine(node.Builder, BuiltinOp.Minimum, x, high);
        return [x];
    }

    private static View? Bound(Node node, string name) =>
        node.Optional(name) is { } tensor ? node.Builder.Cast(tensor, node.Type)
        : node.Named(name) is { } bound ? Number(Node.Number(bound)!.Value, node.Type)
        : null;
}
