using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Interception.Deferred;

/// <summary>The table of deferrable ops: which methods they are, and what their calls mean.</summary>
internal static class CallReaders
{
    private static readonly Dictionary<string, OpKind> Binary = new()
    {
        ["op_Addition"] = OpKind.Add,
        ["add"] = OpKind.Add,
        ["op_Subtraction"] = OpKind.Subtract,
        ["sub"] = OpKind.Subtract,
        ["subtract"] = OpKind.Subtract,
        ["op_Multiply"] = OpKind.Multiply,
        ["mul"] = OpKind.Multiply,
        ["multiply"] = OpKind.Multiply,
        ["op_Division"] = OpKind.Divide,
        ["div"] = OpKind.Divide,
        ["divide"] = OpKind.Divide,
    };

    private static readonly Dictionary<string, OpKind> Unary = new()
    {
        ["op_UnaryNegation"] = OpKind.Negate,
        ["neg"] = OpKind.Negate,
        ["negative"] = OpKind.Negate,
        ["square"] = OpKind.Power,
        ["sqrt"] = OpKind.SquareRoot,
        ["rsqrt"] = OpKind.ReciprocalSquareRoot,
        ["reciprocal"] = OpKind.Reciprocal,
        ["sigmoid"] = OpKind.Sigmoid,
        ["silu"] = OpKind.Silu,
        ["hardsigmoid"] = OpKind.HardSigmoid,
        ["hardswish"] = OpKind.HardSwish,
        ["gelu"] = OpKind.Gelu,
    };

    /// <summary>The kind and reader of a method, or null where it is not deferrable.</summary>
    /// <param name="name">The method's name.</param>
    /// <param name="parameters">The types of its arguments, the instance first.</param>
    internal static (OpKind Kind, CallReader Reader)? For(string name, Type[] parameters)
    {
        if (parameters.Length == 0 || (parameters[0] != typeof(Tensor) && name != "cat" && !IsNumber(parameters[0]))) return null;
        if (name == "copy_") return Fits(parameters, typeof(Tensor), typeof(Tensor), typeof(bool)) ? (OpKind.Copy, Copy) : null;
        if (ClampReaders.For(name, parameters) is { } clamp) return (OpKind.Clamp, clamp);
        if (name is "add_" or "hardsigmoid_" or "hardswish_" || ClampReaders.IsInPlace(name)) return For(name[..^1], parameters) is var (kind, plain) ? (kind, Overwriting(plain)) : null;
        if (Binary.TryGetValue(name, out var binary)) return ForBinary(binary, parameters) is { } reader ? (binary, reader) : null;
        if (Unary.TryGetValue(name, out var unary) && parameters.Skip(1).All(p => p == typeof(bool))) return (unary, name == "square" ? Square : InPlaceFlag);
        return name switch
        {
            "pow" when Fits(parameters, typeof(Tensor), typeof(Scalar)) => (OpKind.Power, Power),
            "mean" when parameters.Length == 4 => (OpKind.Mean, ShapeReaders.Mean),
            "cat" when parameters.Length == 2 => (OpKind.Concatenate, ShapeReaders.Concatenate),
            "narrow" when parameters.Length == 4 => (OpKind.Part, ShapeReaders.Narrow),
            "chunk" when parameters.Length == 3 => (OpKind.Part, ShapeReaders.Chunk),
            "view" or "reshape" when Fits(parameters, typeof(Tensor), typeof(long[])) => (OpKind.Reshape, ShapeReaders.Reshape),
            "flatten" when Fits(parameters, typeof(Tensor), typeof(long), typeof(long)) => (OpKind.Reshape, ShapeReaders.Flatten),
            "transpose" when Fits(parameters, typeof(Tensor), typeof(long), typeof(long)) => (OpKind.Transpose, ShapeReaders.Transpose),
            "alias" when parameters.Length == 1 => (OpKind.Reshape, One),
            "linear" when parameters.Length == 3 => (OpKind.Linear, Consent),
            "matmul" when Fits(parameters, typeof(Tensor), typeof(Tensor)) => (OpKind.MatMul, ShapeReaders.MatMul),
            "repeat_interleave" when Fits(parameters, typeof(Tensor), typeof(long), typeof(long?), typeof(long?)) => (OpKind.Repeat, AttentionReaders.RepeatInterleave),
            "scaled_dot_product_attention" when parameters.Length == 6 => (OpKind.Attention, AttentionReaders.Attention),
            "layer_norm" when Fits(parameters, typeof(Tensor), typeof(long[]), typeof(Tensor), typeof(Tensor), typeof(double)) => (OpKind.LayerNorm, LayerNorm),
            "softmax" when Fits(parameters, typeof(Tensor), typeof(long), typeof(ScalarType?)) => (OpKind.Softmax, ShapeReaders.Softmax),
            "conv2d" when parameters.Length == 7 && parameters[3] == typeof(long[]) => (OpKind.Convolution, Consent),
            "batch_norm" when parameters.Length == 8 => (OpKind.BatchNorm, Consent),
            "max_pool2d" when parameters.Length == 6 && parameters[1] == typeof(long[]) => (OpKind.MaxPool, Consent),
            "adaptive_avg_pool2d" when parameters.Length == 2 => (OpKind.AveragePool, Consent),
            _ => null,
        };
    }

    internal static bool Fits(Type[] parameters, params ReadOnlySpan<Type> types) => parameters.AsSpan().SequenceEqual(types);

    private static bool IsNumber(Type type) => type == typeof(Scalar) || type == typeof(double) || type == typeof(float) || type == typeof(int) || type == typeof(long);

    private static CallReader? ForBinary(OpKind kind, Type[] parameters)
    {
        // A third parameter may be the rounding of a division, but not the factor of an addition.
        if (parameters.Length is not (2 or 3) || (parameters.Length == 3 && parameters[2] != typeof(RoundingMode))) return null;
        if (parameters[0] == typeof(Tensor) && parameters[1] == typeof(Tensor)) return Tensors;
        if (parameters[0] == typeof(Tensor) && IsNumber(parameters[1])) return TensorAndNumber(parameters[1]);
        // TorchSharp computes number − x as −x + number, which is another op.
        return kind != OpKind.Subtract && IsNumber(parameters[0]) && parameters[1] == typeof(Tensor) ? NumberAndTensor(parameters[0]) : null;
    }

    /// <summary>A division may have its rounding as a third argument, which is 0 in all other calls.</summary>
    private static bool Rounds(in CallArguments arguments) => arguments.Integer(2) != (long)RoundingMode.None;

    private static bool Tensors(DeferredGraph graph, ref CallArguments arguments, ref DeferredCall call)
    {
        if (Rounds(arguments) || !graph.TryRead(arguments.Tensor(0), out var a) || !graph.TryRead(arguments.Tensor(1), out var b)) return false;
        if (ShapeReaders.Broadcast(a.Shape, b.Shape) is not { } shape) return false;
        (call.Operands, call.Shape, call.Number, call.IsContiguous) = (new(a.Operand, b.Operand), shape, double.NaN, a.IsContiguous && b.IsContiguous);
        return true;
    }

    private static CallReader TensorAndNumber(Type number) => (DeferredGraph graph, ref CallArguments arguments, ref DeferredCall call) =>
        !Rounds(arguments) && WithNumber(graph, arguments.Tensor(0), Number(arguments, 1, number), ref call);

    private static CallReader NumberAndTensor(Type number) => (DeferredGraph graph, ref CallArguments arguments, ref DeferredCall call) =>
    {
        // Which side the number is on matters to a division alone.
        call.Axis = 1;
        return !Rounds(arguments) && WithNumber(graph, arguments.Tensor(1), Number(arguments, 0, number), ref call);
    };

    private static bool WithNumber(DeferredGraph graph, Tensor? tensor, double number, ref DeferredCall call)
    {
        if (double.IsNaN(number) || !graph.TryRead(tensor, out var x)) return false;
        (call.Operands, call.Shape, call.Number, call.IsContiguous) = (new(x.Operand), x.Shape, number, x.IsContiguous);
        return true;
    }

    /// <summary>A number of some type; NaN for one that is none, or complex: that would make the result complex.</summary>
    internal static double Number(in CallArguments arguments, int place, Type type)
    {
        if (type == typeof(double) || type == typeof(float)) return arguments.Real(place);
        if (type != typeof(Scalar)) return arguments.Integer(place);
        return arguments[place] is Scalar { Type: ScalarType.Float64 or ScalarType.Int64 } scalar ? scalar.ToDouble() : double.NaN;
    }

    private static bool Square(DeferredGraph graph, ref CallArguments arguments, ref DeferredCall call)
    {
        call.Number = 2;
        return One(graph, ref arguments, ref call);
    }

    private static bool Power(DeferredGraph graph, ref CallArguments arguments, ref DeferredCall call) =>
        WithNumber(graph, arguments.Tensor(0), Number(arguments, 1, typeof(Scalar)), ref call);

    internal static bool InPlaceFlag(DeferredGraph graph, ref CallArguments arguments, ref DeferredCall call)
    {
        if (arguments.Integer(1) != 0)
        {
            // The op in place, and an alias of what it was done to.
            arguments.SetInteger(1, 0);
            call.Overwrites = call.IsAliased = true;
        }

        return One(graph, ref arguments, ref call);
    }

    /// <summary>A copy of a tensor over another one of the same shape.</summary>
    private static bool Copy(DeferredGraph graph, ref CallArguments arguments, ref DeferredCall call)
    {
        if (!graph.TryRead(arguments.Tensor(0), out var target) || !graph.TryRead(arguments.Tensor(1), out var source) || !target.Shape.AsSpan().SequenceEqual(source.Shape)) return false;
        (call.Operands, call.Shape, call.IsContiguous) = (new(target.Operand, source.Operand), target.Shape, target.IsContiguous);
        return true;
    }

    /// <summary>An op that writes its result over its first operand.</summary>
    private static CallReader Overwriting(CallReader plain) => (DeferredGraph graph, ref CallArguments arguments, ref DeferredCall call) =>
    {
        call.Overwrites = true;
        return plain(graph, ref arguments, ref call);
    };

    internal static bool One(DeferredGraph graph, ref CallArguments arguments, ref DeferredCall call)
    {
        if (!graph.TryRead(arguments.Tensor(0), out var x)) return false;
        (call.Operands, call.Shape, call.IsContiguous) = (new(x.Operand), x.Shape, x.IsContiguous);
        return true;
    }

    /// <summary>Along the last axis, with both a weight and a bias or none.</summary>
    private static bool LayerNorm(DeferredGraph graph, ref CallArguments arguments, ref DeferredCall call)
    {
        if (arguments[1] is not long[] { Length: 1 } size || size[0] == 0 || !graph.TryRead(arguments.Tensor(0), out var x) || x.Shape.Length == 0 || x.Shape[^1] != size[0]) return false;
        (call.Operands, call.Shape, call.Number, call.IsContiguous) = (new(x.Operand), x.Shape, arguments.Real(4), true);
        if (arguments[2] is null && arguments[3] is null) return true;
        if (!graph.TryRead(arguments.Tensor(2), out var weight) || !graph.TryRead(arguments.Tensor(3), out var bias)) return false;
        call.Operands = new([x.Operand, weight.Operand, bias.Operand]);
        return weight.Shape is [var length] && length == size[0] && bias.Shape is [var itsLength] && itsLength == length;
    }

    private static bool Consent(DeferredGraph graph, ref CallArguments arguments, ref DeferredCall call)
    {
        if (!graph.TryRead(arguments.Tensor(0), out var x)) return false;
        call.Operands = new(x.Operand);
        return graph.AsksFor(arguments, x.Shape, ref call);
    }
}
