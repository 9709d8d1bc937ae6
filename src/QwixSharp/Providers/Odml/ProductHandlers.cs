using QwixSharp.Arrays;
using QwixSharp.Interception;
using QwixSharp.Numerics;
using QwixSharp.Ops;
using QwixSharp.Providers.Odml.Device;
using QwixSharp.Providers.OpMap;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Odml;

/// <summary>
/// Products: weights on the right are quantized per channel, everything else per tensor. What comes out may fuse with a
/// constant that is added, with batch norm, and with an activation function.
/// </summary>
internal static class ProductHandlers
{
    /// <summary>How one side would be quantized per channel.</summary>
    private delegate HowToQuantize How(bool forLhs, QType qtype, CalibrationMethod calibration);

    internal static object? Linear(OdmlRun run, in OpCall call, OdmlOp op, string name) =>
        Multiply(run, call, OpNames.DotGeneral, new([(int)Arguments.Tensor(call, 0).dim() - 1], [1]));

    internal static object? MatMul(OdmlRun run, in OpCall call, OdmlOp op, string name)
    {
        int rank = (int)Arguments.Tensor(call, 0).dim(), rhsRank = (int)Arguments.Tensor(call, 1).dim();
        // Batch axes keep their scales as free ones do, so that only the contraction has to be named.
        return Multiply(run, call, OpNames.DotGeneral, new([rank - 1], [Math.Max(0, rhsRank - 2)]));
    }

    internal static object? Inner(OdmlRun run, in OpCall call, OdmlOp op, string name) =>
        Multiply(run, call, OpNames.DotGeneral, new([(int)Arguments.Tensor(call, 0).dim() - 1], [(int)Arguments.Tensor(call, 1).dim() - 1]));

    internal static object? Convolution(OdmlRun run, in OpCall call, OdmlOp op, string name)
    {
        int outputFeatures = name.Contains("transpose") ? 1 : 0;
        return Multiply(run, call, OpNames.ConvGeneralDilated, 0, 1, Place, (lhs, q, c) => new() { QType = q, ChannelwiseAxes = [lhs ? 0 : outputFeatures], Calibration = c });
    }

    internal static object? Einsum(OdmlRun run, in OpCall call, OdmlOp op, string name)
    {
        var equation = (string)call.Arguments[0]!;
        Tensor[] operands = [.. (IEnumerable<Tensor>)call.Arguments[1]!];
        if (operands.Length != 2)
            throw new QwixException($"The einsum \"{equation}\" in module \"{call.ModulePath}\" has {operands.Length} operands; devices have products of two. Write it as several.");
        int rank = (int)operands[0].dim(), rhsRank = (int)operands[1].dim();
        var flattened = new OpCall(call.Op, [operands[0], operands[1]], call.Module, call.ModulePath);
        return Multiply(run, flattened, OpNames.Einsum, 0, 1, (_, lhs, rhs) => [equation, new[] { lhs, rhs }], (lhs, q, c) => EinsumOp.HowToQuantize(equation, rank, rhsRank, lhs, q, null, c));
    }

    private static object? Multiply(OdmlRun run, in OpCall call, string opName, DotDimensionNumbers numbers)
    {
        int rank = (int)Arguments.Tensor(call, 0).dim(), rhsRank = (int)Arguments.Tensor(call, 1).dim();
        return Multiply(run, call, opName, 0, 1, Place, (lhs, q, c) => DotGeneralOp.HowToQuantize(numbers, rank, rhsRank, lhs, q, null, c));
    }

    private static object?[] Place(object?[] arguments, Tensor lhs, Tensor rhs) => [lhs, rhs, .. arguments[2..]];

    private static object? Multiply(OdmlRun run, in OpCall call, string opName, int left, int right, Func<object?[], Tensor, Tensor, object?[]> place, How how)
    {
        var site = run.NextSite(call, opName);
        Tensor lhs = Arguments.Tensor(call, left), rhs = Arguments.Tensor(call, right);
        var rhsWeight = run.State.UseOf(rhs);
        bool lhsActivates = run.IsActivation(lhs), rhsActivates = run.IsActivation(rhs);
        if (run.Provider.Strict && !lhsActivates && rhsWeight is not null && run.State.UseOf(lhs) is null)
            throw new QwixException($"The left side of {site}, whose right side is the parameter \"{rhsWeight.Name}\", does not come from the model's inputs through ops that {run.Provider.GetType().Name} sees. {OdmlQatProvider.NotSeen}");
        if (!lhsActivates && !rhsActivates)
            return run.Proceed(call, place(call.Arguments, lhs, rhs));

        var rule = site.Rule;
        bool isDynamic = rule is { ActQType: not null, ActStaticScale: not true } && lhsActivates && rhsWeight is not null;
        lhs = isDynamic
            ? run.Quantize(lhs, how(true, rule!.ActQType!, rule.ActCalibrationMethod!), site, "lhs", null, ProductKernels.Dynamic(run, call, lhs, rule.WeightQType))
            : run.Quantize(lhs, rule, site, "lhs");
        if (rhsWeight is not null && rule?.WeightQType is { } weightQType)
        {
            var weightHow = how(false, weightQType, rule.WeightCalibrationMethod);
            rhs = run.Quantize(rhs, run.Provider.PerChannelWeights ? weightHow : weightHow with { ChannelwiseAxes = [] }, site, "rhs", rhsWeight);
        }
        else if (rhsActivates)
        {
            rhs = run.Quantize(rhs, rule, site, "rhs");
        }

        var result = run.Proceed(call, place(call.Arguments, lhs, rhs));
        ProductSums? sums = null;
        if (result is Tensor product)
            (result, sums) = BiasRounding.Product(run, call, OpNaming.Of(call.Op), lhs, rhs, product, place);
        var kernel = rhsActivates ? ProductKernels.OfActivations(run, call, lhs, rhs, place) : ProductKernels.Of(sums);
        run.Tag(result, rule, new() { AllowsFusion = true, Sums = sums, Kernel = kernel });
        return result;
    }
}
