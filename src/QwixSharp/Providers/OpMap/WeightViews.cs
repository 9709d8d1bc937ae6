using System.Collections;
using System.Globalization;
using System.Reflection;
using QwixSharp.Interception;
using QwixSharp.Providers.Models;
using static TorchSharp.torch;

namespace QwixSharp.Providers.OpMap;

/// <summary>
/// Follows a parameter through ops that only rearrange or cast it, so that <c>matmul(x, weight.t())</c> is known to
/// multiply with a weight.
/// </summary>
internal static class WeightViews
{
    private static readonly HashSet<string> Permutations = ["t", "get_T", "get_mT", "transpose", "permute", "swapaxes", "swapdims", "movedim", "moveaxis"];

    private static readonly HashSet<string> Identities = ["contiguous", "alias", "detach", "clone", "to", "to_type", "type_as", "type", "float", "half", "bfloat16", "cpu", "cuda"];

    private static readonly HashSet<string> Others =
    [
        "view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "narrow", "slice", "select", "index", "get_TensorItems",
        "chunk", "split", "tensor_split", "unbind", "split_with_sizes", "hsplit", "vsplit",
    ];

    /// <summary>TorchSharp keeps what an index means in internal fields.</summary>
    private static readonly FieldInfo[] IndexFields = [.. typeof(TensorIndex).GetFields(BindingFlags.Instance | BindingFlags.NonPublic)];

    /// <summary>What an op makes of a parameter, where it only rearranges or casts one; else null.</summary>
    internal static WeightView? Find(ModelState state, in OpCall call)
    {
        if (call.Arguments.Length == 0 || call.Arguments[0] is not Tensor source || state.UseOf(source) is not { } use || OtherTensors(call))
            return null;
        var name = call.Op.Method.Name;
        if (Identities.Contains(name))
            return new WeightView(use, IsChain: false);
        if (Permutations.Contains(name) && PermutationOf(call, source) is { } permutation)
            return new WeightView(use.Permuted(permutation), IsChain: false);
        return Others.Contains(name) ? new WeightView(use, IsChain: true) : null;
    }

    /// <summary>Remembers that the result of an op is a view of a parameter.</summary>
    internal static void Remember(ModelState state, in OpCall call, WeightView found, object? result)
    {
        var (op, arguments) = (call.Op, call.Arguments);
        var (use, isChain) = found;
        object? Repeat(Tensor source) => op.Call([source, .. arguments.Skip(1)]);
        if (result is Tensor view)
        {
            state.AddView(view, isChain ? use.Viewed(Text(call), t => (Tensor)Repeat(t)!) : use, op);
        }
        else if (result is Tensor[] views)
        {
            for (int i = 0; i < views.Length; i++)
            {
                int index = i;
                state.AddView(views[i], use.Viewed($"{Text(call)}[{i}]", t => ((Tensor[])Repeat(t)!)[index]), op);
            }
        }
    }

    private static bool OtherTensors(in OpCall call)
    {
        for (int i = 1; i < call.Arguments.Length; i++)
        {
            if (call.Op.Method.Name == "type_as")
                continue;
            if (call.Arguments[i] is Tensor or Tensor[] || (call.Arguments[i] is TensorIndex[] indices && indices.Any(i => TensorOf(i) is not null)))
                return true;
        }

        return false;
    }

    /// <summary>The tensor that an index holds; null where it is a number or a range.</summary>
    internal static Tensor? TensorOf(TensorIndex index) => IndexFields.Select(f => f.GetValue(index)).OfType<Tensor>().FirstOrDefault();

    /// <summary>The axis of the source for each axis of the result, found by the same call on a tensor whose axes all differ in length.</summary>
    private static int[]? PermutationOf(in OpCall call, Tensor source)
    {
        int rank = (int)source.dim();
        using var scope = NewDisposeScope();
        var probe = empty([.. Enumerable.Range(2, rank).Select(n => (long)n)], device: META);
        object?[] arguments = [probe, .. call.Arguments.Skip(1)];
        return call.Proceed(arguments) is Tensor result && result.dim() == rank ? [.. result.shape.Select(n => (int)n - 2)] : null;
    }

    /// <summary>The call as text, such as <c>.narrow(0,0,64)</c>: calls that read alike give the same view.</summary>
    private static string Text(in OpCall call) =>
        "." + call.Op.Method.Name.Replace("get_TensorItems", "index") + "(" + string.Join(",", call.Arguments.Skip(1).Select(ArgumentText)) + ")";

    private static string ArgumentText(object? argument) => argument switch
    {
        null => "",
        string text => text,
        IEnumerable items => "[" + string.Join(",", items.Cast<object?>().Select(ArgumentText)) + "]",
        TensorIndex index => IndexText(index),
        IFormattable number => number.ToString(null, CultureInfo.InvariantCulture),
        _ => argument.ToString()!,
    };

    private static string IndexText(TensorIndex index) => string.Join(":", IndexFields.Select(f => f.GetValue(index)));
}

/// <summary>A view of a parameter that an op makes.</summary>
/// <param name="Use">How the op's result relates to the parameter, or, for a chain, how the op's operand does.</param>
/// <param name="IsChain">Whether the view has to be made by repeating the op.</param>
internal readonly record struct WeightView(WeightUse Use, bool IsChain);
