using QwixSharp.LiteRT.FlatBuffers;

namespace QwixSharp.LiteRT.Lowering;

/// <summary>Activation functions, softmax among them.</summary>
internal static class Activations
{
    internal static readonly Dictionary<string, LowerOp> Ops = new()
    {
        ["relu"] = n => Unary(n, BuiltinOp.Relu),
        ["relu6"] = n => Unary(n, BuiltinOp.Relu6),
        ["sigmoid"] = n => Unary(n, BuiltinOp.Logistic),
        ["expit"] = n => Unary(n, BuiltinOp.Logistic),
        ["tanh"] = n => Unary(n, BuiltinOp.Tanh),
        ["hardswish"] = n => Unary(n, BuiltinOp.HardSwish),
        ["hardsigmoid"] = HardSigmoid,
        ["hardtanh"] = HardTanh,
        ["silu"] = n => [Gated(n, n.Input(0))],
        ["gelu"] = Gelu,
        ["leaky_relu"] = n => [n.Builder.Unary(BuiltinOp.LeakyRelu, n.Input(0), ("alpha", n.Double(0.01, "negative_slope")))],
        ["elu"] = Elu,
        ["celu"] = Celu,
        ["selu"] = Selu,
        ["prelu"] = Prelu,
        ["softplus"] = Softplus,
        ["mish"] = n => [Arithmetic.Combine(n.Builder, BuiltinOp.Mul, n.Input(0), n.Builder.Unary(BuiltinOp.Tanh, LogOnePlusExp(n, n.Input(0))))],
        ["log_sigmoid"] = LogSigmoid,
        ["logsigmoid"] = LogSigmoid,
        ["glu"] = Glu,
        ["softmax"] = n => Normalized(n, BuiltinOp.Softmax, ("beta", 1)),
        ["log_softmax"] = n => Normalized(n, BuiltinOp.LogSoftmax),
        ["dropout"] = Dropout,
        ["dropout1d"] = Dropout,
        ["dropout2d"] = Dropout,
        ["dropout3d"] = Dropout,
        ["alpha_dropout"] = Dropout,
    };

    /// <summary>Softmax along an axis: LiteRT's is along the last.</summary>
    internal static View Softmax(GraphBuilder builder, View x, int axis, BuiltinOp op, params (string, double)[] options)
    {
        x = Last(builder, x, axis);
        return builder.Unary(op, x, options);
    }

    /// <summary>The same tensor, with an axis last in the file.</summary>
    internal static View Last(GraphBuilder builder, View x, int axis)
    {
        int last = x.Rank - 1;
        if (!x.IsReshaped && x.Order[axis] == last)
            return x;
        // The other axes stay as they are kept.
        int[] order = x.IsReshaped ? Axes.Identity(x.Rank) : x.Order;
        int place = order[axis];
        order = [.. order.Select(p => p == place ? last : p > place ? p - 1 : p)];
        return new View(builder.Arrange(x, order), order, x.Shape);
    }

    private static View[] Unary(Node node, BuiltinOp op) => [node.Builder.Unary(op, node.Operand(0, node.Type))];

    private static View Gated(Node node, View x) => Arithmetic.Combine(node.Builder, BuiltinOp.Mul, x, node.Builder.Unary(BuiltinOp.Logistic, x));

    /// <summary>ReLU6(x + 3) / 6.</summary>
    private static View[] HardSigmoid(Node node)
    {
        var shifted = Arithmetic.Combine(node.Builder, BuiltinOp.Add, node.Input(0), Arithmetic.Number(3));
        return [Arithmetic.Scaled(node, node.Builder.Unary(BuiltinOp.Relu6, shifted), 1.0 / 6)];
    }

    private static View[] HardTanh(Node node)
    {
        // TorchSharp 0.107 gives back x itself, unless it is done in place.
        if (!node.IsInPlace)
            return [node.Input(0)];
        double low = node.Double(-1, "min_val", "min"), high = node.Double(1, "max_val", "max");
        return (low, high) switch
        {
            (0, 6) => Unary(node, BuiltinOp.Relu6),
            (-1, 1) => Unary(node, BuiltinOp.ReluN1To1),
            _ => [Arithmetic.Combine(node.Builder, BuiltinOp.Minimum, Arithmetic.Combine(node.Builder, BuiltinOp.Maximum, node.Input(0), Arithmetic.Number(low)), Arithmetic.Number(high))],
        };
    }

    private static View[] Gelu(Node node)
    {
        bool tanh = node.Named("approximate")?.ToString()?.Equals("tanh", StringComparison.OrdinalIgnoreCase) == true;
        return [node.Builder.Unary(BuiltinOp.Gelu, node.Input(0), ("approximate", tanh ? 1 : 0))];
    }

    /// <summary>LiteRT's ELU has α = 1. Another α scales the negative part alone.</summary>
    private static View[] Elu(Node node)
    {
        double scale = node.Double(1, "scale"), inputScale = node.Double(1, "input_scale");
        if (scale != 1 || inputScale != 1)
            throw node.Error("LiteRT's ELU has no scales");
        return [Elu(node, node.Input(0), node.Double(1, "alpha"))];
    }

    private static View Elu(Node node, View x, double alpha)
    {
        if (alpha == 1)
            return node.Builder.Unary(BuiltinOp.Elu, x);
        var negative = Arithmetic.Combine(node.Builder, BuiltinOp.Minimum, node.Builder.Unary(BuiltinOp.Elu, x), Arithmetic.Number(0));
        return Arithmetic.Combine(node.Builder, BuiltinOp.Add, node.Builder.Unary(BuiltinOp.Relu, x), Arithmetic.Scaled(node, negative, alpha));
    }

    /// <summary>CELU: α · (exp(x / α) − 1) below zero.</summary>
    private static View[] Celu(Node node)
    {
        double alpha = node.Double(1, "alpha");
        var elu = node.Builder.Unary(BuiltinOp.Elu, Arithmetic.Scaled(node, node.Input(0), 1 / alpha));
        return [Arithmetic.Scaled(node, elu, alpha)];
    }

    /// <summary>Klambauer et al. 2017: λ · ELU(x) with α = 1.6732632.</summary>
    private static View[] Selu(Node node) => [Arithmetic.Scaled(node, Elu(node, node.Input(0), 1.6732632423543772), 1.0507009873554805)];

    private static View[] Prelu(Node node)
    {
        var x = node.Input(0);
        var slope = node.Input(1);
        int[] shape = [.. x.Shape.Select((_, i) => i == 1 ? (int)slope.Tensor.Elements : 1)];
        var (tensors, order, _) = node.Builder.Align(x, node.Builder.Reshape(slope, x.Rank == 1 ? [1] : shape));
        // LiteRT broadcasts the slopes to all axes but the batch.
        var slopes = tensors[1].Rank == tensors[0].Rank ? node.Builder.Reshape(tensors[1], tensors[1].Shape[1..]) : tensors[1];
        return [new View(node.Builder.Emit(BuiltinOp.Prelu, [tensors[0], slopes], tensors[0].Shape, x.Type), order, x.Shape)];
    }

    private static View[] Softplus(Node node)
    {
        double beta = node.Double(1, "beta");
        return [Arithmetic.Scaled(node, LogOnePlusExp(node, Arithmetic.Scaled(node, node.Input(0), beta)), 1 / beta)];
    }

    private static View[] LogSigmoid(Node node)
    {
        var negative = node.Builder.Unary(BuiltinOp.Neg, node.Input(0));
        return [node.Builder.Unary(BuiltinOp.Neg, LogOnePlusExp(node, negative))];
    }

    /// <summary>log(1 + exp(x)) as ReLU(x) + log(1 + exp(−|x|)), which does not overflow.</summary>
    private static View LogOnePlusExp(Node node, View x)
    {
        var builder = node.Builder;
        var decay = builder.Unary(BuiltinOp.Exp, builder.Unary(BuiltinOp.Neg, builder.Unary(BuiltinOp.Abs, x)));
        var log = builder.Unary(BuiltinOp.Log, Arithmetic.Combine(builder, BuiltinOp.Add, decay, Arithmetic.Number(1)));
        return Arithmetic.Combine(builder, BuiltinOp.Add, builder.Unary(BuiltinOp.Relu, x), log);
    }

    private static View[] Glu(Node node)
    {
        var x = node.Input(0);
        var halves = Joins.Split(node.Builder, x, Axes.Normal(node.Long(-1, "dim"), x.Rank), [.. Enumerable.Repeat(node.Shape[Axes.Normal(node.Long(-1, "dim"), x.Rank)], 2)]);
        return [Arithmetic.Combine(node.Builder, BuiltinOp.Mul, halves[0], node.Builder.Unary(BuiltinOp.Logistic, halves[1]))];
    }

    private static View[] Normalized(Node node, BuiltinOp op, params (string, double)[] options)
    {
        var x = node.Operand(0, node.Type);
        return [Softmax(node.Builder, x, Axes.Normal(node.Long(-1, "dim"), x.Rank), op, options)];
    }

    /// <summary>In evaluation mode dropout does nothing.</summary>
    private static View[] Dropout(Node node) => node.Bool("training", "train")
        ? throw node.Error("dropout is random while it trains; call eval() on the model, or do not pass training: true")
        : [node.Input(0)];
}
