using System.Collections.Concurrent;
using QwixSharp.Interception;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Odml;

/// <summary>One name for each op, whether it is called as a function, a method, an operator or in place.</summary>
internal static class OpNaming
{
    private static readonly Dictionary<string, string> Aliases = new()
    {
        ["op_Addition"] = "add",
        ["op_Subtraction"] = "sub",
        ["op_Multiply"] = "mul",
        ["op_Division"] = "div",
        ["op_Modulus"] = "remainder",
        ["op_UnaryNegation"] = "neg",
        ["op_Equality"] = "eq",
        ["op_Inequality"] = "ne",
        ["op_LessThan"] = "lt",
        ["op_LessThanOrEqual"] = "le",
        ["op_GreaterThan"] = "gt",
        ["op_GreaterThanOrEqual"] = "ge",
        ["op_BitwiseAnd"] = "bitwise_and",
        ["op_BitwiseOr"] = "bitwise_or",
        ["op_ExclusiveOr"] = "bitwise_xor",
        ["op_OnesComplement"] = "bitwise_not",
        ["subtract"] = "sub",
        ["multiply"] = "mul",
        ["divide"] = "div",
        ["true_divide"] = "div",
        ["negative"] = "neg",
        ["absolute"] = "abs",
        ["clip"] = "clamp",
        ["fmax"] = "maximum",
        ["fmin"] = "minimum",
        ["log_sigmoid"] = "logsigmoid",
        ["concat"] = "cat",
        ["concatenate"] = "cat",
        ["equal"] = "eq",
        ["not_equal"] = "ne",
        ["less"] = "lt",
        ["less_equal"] = "le",
        ["greater"] = "gt",
        ["greater_equal"] = "ge",
        ["get_TensorItems"] = "index",
        ["set_TensorItems"] = "index_put",
        ["expit"] = "sigmoid",
        ["softmax2d"] = "softmax",
        ["SiLU"] = "silu",
        ["Mish"] = "mish",
        ["Hardtanh"] = "hardtanh",
        ["conv1d_padding"] = "conv1d",
        ["conv2d_padding"] = "conv2d",
        ["conv3d_padding"] = "conv3d",
    };

    private static readonly ConcurrentDictionary<int, (string Name, bool Writes, int InPlaceFlag)> Known = new();

    /// <summary>The name: that of PyTorch's function, without the underscore of a form in place.</summary>
    internal static string Of(OpDescriptor op) => Describe(op).Name;

    /// <summary>Whether a call writes over its first argument.</summary>
    internal static bool IsInPlace(in OpCall call)
    {
        var (_, writes, flag) = Describe(call.Op);
        return writes || (flag >= 0 && call.Arguments[flag] is true);
    }

    private static (string Name, bool Writes, int InPlaceFlag) Describe(OpDescriptor op)
    {
        if (Known.TryGetValue(op.Id, out var known))
            return known;
        var method = op.Method;
        bool writes = method.Name is "set_TensorItems" || (method.Name.EndsWith('_') && !method.Name.EndsWith("__", StringComparison.Ordinal));
        string name = method.Name.TrimEnd('_');
        name = Aliases.GetValueOrDefault(name, name);
        // The two meanings of max and min are ops of their own.
        if (name is "max" or "min" && method.GetParameters().Count(p => p.ParameterType == typeof(Tensor)) == (method.IsStatic ? 2 : 1))
            name += "imum";
        int flag = Array.FindIndex(method.GetParameters(), p => p.Name == "inplace" && p.ParameterType == typeof(bool));
        return Known[op.Id] = (name, writes, flag < 0 || method.IsStatic ? flag : flag + 1);
    }
}
