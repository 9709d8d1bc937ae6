using QwixSharp.Interception;

namespace QwixSharp.LiteRT.Capture;

/// <summary>What capturing must know of some ops.</summary>
internal static class OpKinds
{
    private static readonly HashSet<string> Aliases = ["alias", "detach", "requires_grad_", "with_requires_grad", "cpu", "cuda", "mps", "pin_memory", "positive"];

    private static readonly HashSet<string> Views =
    [
        "view", "view_as", "reshape", "flatten", "ravel", "unflatten", "contiguous", "squeeze", "unsqueeze", "permute", "transpose", "swapaxes", "swapdims",
        "movedim", "moveaxis", "t", "get_T", "get_mT", "expand", "expand_as", "broadcast_to", "broadcast_tensors", "select", "slice", "narrow", "index", "get_TensorItems",
        "chunk", "split", "tensor_split", "hsplit", "vsplit", "dsplit", "unbind", "diagonal", "unfold", "as_strided", "to", "type", "to_type", "type_as", "float", "atleast_1d", "atleast_2d", "atleast_3d",
    ];

    private static readonly HashSet<string> ShapeOnly = ["zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty", "new_tensor"];

    private static readonly HashSet<string> Random =
    [
        "rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "bernoulli", "bernoulli_", "multinomial", "normal", "normal_", "uniform_", "random_", "poisson",
        "exponential_", "geometric_", "cauchy_", "log_normal_", "alpha_dropout", "feature_alpha_dropout", "rrelu",
    ];

    /// <summary>The op's name without its class: functions, methods and variants of a name mean the same.</summary>
    internal static string ShortName(OpDescriptor op) =>
        op.Method.DeclaringType!.Name is "Tensor" or "torch" or "functional" or "linalg" or "special" ? op.Method.Name : op.Name;

    /// <summary>Whether an op gives its argument itself, under another object.</summary>
    internal static bool IsAlias(string op) => Aliases.Contains(op);

    /// <summary>Whether the result may share the memory of the first argument.</summary>
    internal static bool IsView(string op) => Views.Contains(op);

    /// <summary>Whether the result depends on the shape of the argument, not on its values.</summary>
    internal static bool IsShapeOnly(string op) => ShapeOnly.Contains(op);

    internal static bool IsRandom(string op) => Random.Contains(op);

    /// <summary>Whether an op changes its first argument.</summary>
    internal static bool IsInPlace(string op) => op.Length > 1 && op[^1] == '_' && op is not ("requires_grad_" or "detach_");

    /// <summary>Whether a function is asked to change its first argument, as <c>relu(x, inplace: true)</c> is.</summary>
    internal static bool IsMarkedInPlace(in OpCall call)
    {
        int index = Array.FindIndex(call.Op.Method.GetParameters(), p => p.Name == "inplace");
        return index >= 0 && call.Arguments[index + (call.Op.Method.IsStatic ? 0 : 1)] is true;
    }
}
