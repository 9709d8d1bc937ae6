using QwixSharp.Interception;
using QwixSharp.Providers.Odml.Device;
using QwixSharp.Providers.OpMap;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Odml;

/// <summary>Ops that put tensors together, and ops that take rows out of one.</summary>
internal static class JoinHandlers
{
    /// <summary>cat, stack and their kin: the inputs have the output's range where the op is quantized.</summary>
    internal static object? Concatenate(OdmlRun run, in OpCall call, OdmlOp op, string name)
    {
        int position = Array.FindIndex(call.Arguments, a => a is IEnumerable<Tensor>);
        Tensor[] inputs = [.. (IEnumerable<Tensor>)call.Arguments[position]!];
        var tags = Array.ConvertAll(inputs, t => run.Tags[t]);
        var site = run.NextSite(call, name);
        object?[] arguments = [.. call.Arguments];
        if (!site.QuantizesActivations)
            arguments[position] = inputs.Select((t, i) => run.Quantize(t, tags[i]?.Pending, site, $"input{i}")).ToArray();
        var kernels = DeviceKernels.Then(run, call, name, moves: site.QuantizesActivations);
        var result = run.Proceed(call, arguments);
        run.Tag(result, site.Rule, new() { Range = CommonRange(tags), Kernel = kernels(0) });
        return result;
    }

    /// <summary>Rows of a table, or values at places that a tensor gives: they have the range of what they are taken from.</summary>
    internal static object? Take(OdmlRun run, in OpCall call, OdmlOp op, string name)
    {
        var source = Arguments.Tensor(call, 0);
        var site = run.NextSite(call, name == "index_select" && run.State.UseOf(source) is not null ? Rules.OpNames.Embedding : name);
        object?[] arguments = [.. call.Arguments];
        arguments[0] = run.Quantize(source, site.Rule, site);
        var result = run.Proceed(call, arguments);
        run.Tag(result, site.Rule, new() { IsQuantized = site.QuantizesActivations });
        return result;
    }

    /// <summary>Indexing with numbers and slices moves data; with tensors it takes values.</summary>
    internal static object? Index(OdmlRun run, in OpCall call, OdmlOp op, string name)
    {
        bool takes = call.Arguments.Skip(1).SelectMany(TensorTree.Leaves).Any();
        return takes ? Take(run, call, op, name) : RangeHandlers.MovesData(run, call, op, name);
    }

    /// <summary>
    /// The fixed range that all inputs have. Inputs that stay in floating point do not ask for one, and take that of the
    /// others, as in the reference.
    /// </summary>
    private static (double Min, double Max)? CommonRange(TensorTag?[] tags)
    {
        var ranges = tags.Where(t => t is { Pending: not null }).Select(t => t!.Range).Distinct().ToList();
        return ranges is [var range] ? range : null;
    }
}
