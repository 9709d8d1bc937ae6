using QwixSharp.Interception;
using QwixSharp.Providers.Odml.Device;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Odml;

/// <summary>
/// Ops that put minus infinity, or a huge number that stands for it, in places that a softmax shall not see. No range
/// holds both such a number and the scores, so that the result stays in floating point.
/// </summary>
internal static class Masks
{
    /// <summary>Models mask with −1e4 (what float16 can bear) and less; no score comes near.</summary>
    internal const double Huge = 1e4;

    private static readonly QuantizationRule StaysFloat = new();

    /// <summary>Whether an operand of a call is a mask: a constant, or what was made of one and the model's inputs.</summary>
    internal static bool Holds(OdmlRun run, in OpCall call)
    {
        using var scope = NewDisposeScope();
        foreach (var argument in call.Arguments)
        {
            if (DeviceKernels.Number(argument) is { } number && !(Math.Abs(number) < Huge))
                return true;
            if (argument is not Tensor tensor)
                continue;
            if (ReferenceEquals(run.Tags[tensor]?.Pending, StaysFloat))
                return true;
            if (run.Tags[tensor] is not null || run.State.UseOf(tensor) is not null || !tensor.is_floating_point() || tensor.numel() == 0)
                continue;
            if (!(tensor.abs().max().to(ScalarType.Float64).item<double>() < Huge))
                return true;
        }

        return false;
    }

    internal static object? Apply(OdmlRun run, in OpCall call, OdmlOp op, string name)
    {
        var result = run.Proceed(call, RangeHandlers.AsAskedFor(run, call, run.NextSite(call, name)));
        run.Tag(result, null, new() { Pending = StaysFloat });
        return result;
    }

    /// <summary>A choice between two tensors, or a tensor and a number: a mask, or what shares the range of its output.</summary>
    internal static object? Choose(OdmlRun run, in OpCall call, OdmlOp op, string name)
    {
        if (Holds(run, call))
            return Apply(run, call, op, name);
        var branches = TensorTree.Leaves(call.Arguments).Where(t => t.is_floating_point());
        return branches.All(t => run.Tags[t] is { IsQuantized: true })
            ? RangeHandlers.MovesData(run, call, op, name)
            : RangeHandlers.SharesOutput(run, call, op, name);
    }
}
