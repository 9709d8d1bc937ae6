using QwixSharp.Interception;
using QwixSharp.Providers.Odml.Device;
using QwixSharp.Providers.OpMap;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Odml;

/// <summary>Answers a call of an op in an on-device model: quantizes operands, runs the op, and tags its result.</summary>
internal delegate object? OdmlHandler(OdmlRun run, in OpCall call, OdmlOp op, string name);

/// <summary>Ops by what they do to ranges, after LiteRT's quantization specification (ai.google.dev/edge/litert/models/quantization_spec).</summary>
internal static class RangeHandlers
{
    /// <summary>Inputs and output have ranges of their own.</summary>
    internal static object? Quantized(OdmlRun run, in OpCall call, OdmlOp op, string name)
    {
        var site = run.NextSite(call, name);
        object?[] arguments = QuantizeOperands(run, call, op, site);
        var result = run.Proceed(call, arguments);
        run.Tag(result, site.Rule, new() { Range = op.Range, Kernel = DeviceKernels.Of(run, call, name, arguments), HasFixedScale16 = name is "softmax" or "sigmoid" or "tanh" });
        return result;
    }

    /// <summary>
    /// Sums, differences, products and quotients. A constant that is added to a product fuses with it; what is computed with
    /// one activation and constants alone is still what the op before made.
    /// </summary>
    internal static object? Arithmetic(OdmlRun run, in OpCall call, OdmlOp op, string name)
    {
        if (Masks.Holds(run, call))
            return Masks.Apply(run, call, op, name);
        var site = run.NextSite(call, name);
        int source = call.Arguments[0] is Tensor ? 0 : 1;
        bool single = op.Operands == 1 || !(run.IsActivation(call.Arguments[0]) && run.IsActivation(call.Arguments[1]));
        if (single && op.Operands == 2 && run.IsActivation(call.Arguments[1]))
            source = 1;
        var tag = run.Tags[(Tensor)call.Arguments[source]!] ?? new();
        bool fuses = single && tag.AllowsFusion && (name == "add" || (name == "sub" && source == 0));
        object?[] arguments = fuses ? call.Arguments : QuantizeOperands(run, call, op, site);
        var result = run.Proceed(call, arguments);
        if (!site.QuantizesActivations && !fuses)
            tag = tag with { Pending = null };
        bool isLinear = single && !(name == "div" && source == 1);
        bool stays = isLinear && ReferenceEquals(arguments[source], call.Arguments[source]);
        ProductSums? sums = null;
        if (fuses && tag.Sums is { } before && run.RoundsAsDevice && !OpNaming.IsInPlace(call))
            (result, sums) = BiasRounding.Constant(run, before, (Tensor)result!, call.Arguments[1 - source], name == "sub" ? -1 : 1);
        var kernel = fuses ? ProductKernels.Of(sums) : DeviceKernels.Of(run, call, name, arguments);
        run.Tag(result, site.Rule, stays ? new() { Pending = tag.Pending, AllowsFusion = tag.AllowsFusion, Sums = sums, Kernel = kernel } : new() { Kernel = kernel });
        return result;
    }

    /// <summary>The output has the input's range: its values depend on all of the input's.</summary>
    internal static object? SharesInput(OdmlRun run, in OpCall call, OdmlOp op, string name)
    {
        var site = run.NextSite(call, name);
        object?[] arguments = QuantizeOperands(run, call, op, site);
        var result = run.Proceed(call, arguments);
        run.Tag(result, site.Rule, new() { IsQuantized = site.QuantizesActivations, Codes = run.Tags[(Tensor)arguments[0]!]?.Codes });
        return result;
    }

    /// <summary>The output has the input's range, and is made of averages, which a device rounds to codes.</summary>
    internal static object? AveragesInput(OdmlRun run, in OpCall call, OdmlOp op, string name)
    {
        var site = run.NextSite(call, name);
        object?[] arguments = QuantizeOperands(run, call, op, site);
        var (source, average) = ((Tensor)arguments[0]!, (Tensor)run.Proceed(call, arguments)!);
        var codes = run.Tags[source]?.Codes;
        var rounded = average;
        if (run.RoundsAsDevice && codes is not null && AverageForms.IsInteger(call, source, average, name))
            rounded = BilinearKernel.Is(call, source, average, name) ? BilinearKernel.Compute(call, source, average, codes) : DeviceRounding.Averages(average, codes);
        if (!ReferenceEquals(rounded, average))
            average.Dispose();
        run.Tag(rounded, site.Rule, new() { IsQuantized = site.QuantizesActivations, Codes = codes });
        return rounded;
    }

    /// <summary>The input has the output's range: what the op cuts off needs no codes.</summary>
    internal static object? SharesOutput(OdmlRun run, in OpCall call, OdmlOp op, string name)
    {
        var site = run.NextSite(call, name);
        var source = TensorTree.Leaves(call.Arguments).FirstOrDefault(t => run.IsActivation(t) && t.is_floating_point());
        var rule = site.QuantizesActivations || source is null ? site.Rule : run.Tags[source]!.Pending;
        var kernels = DeviceKernels.Then(run, call, name, moves: false);
        var result = run.Proceed(call, call.Arguments);
        run.Tag(result, rule, new() { Kernel = kernels(0) });
        return result;
    }

    /// <summary>The output is the input, rearranged.</summary>
    internal static object? MovesData(OdmlRun run, in OpCall call, OdmlOp op, string name)
    {
        List<TensorTag?> tags = [.. TensorTree.Leaves(call.Arguments).Select(t => run.Tags[t])];
        var kernels = DeviceKernels.Then(run, call, name, moves: true);
        var result = run.Proceed(call, call.Arguments);
        var first = tags.FirstOrDefault(t => t is not null);
        var tag = new TensorTag
        {
            Pending = tags.LastOrDefault(t => t?.Pending is not null)?.Pending,
            Range = tags.LastOrDefault(t => t?.Range is not null)?.Range,
            AllowsFusion = tags.Any(t => t is { AllowsFusion: true }),
            IsQuantized = tags.All(t => t is { IsQuantized: true }),
            Codes = tags is [var only] ? only?.Codes : null,
            Memory = first?.Memory ?? new(),
            SplitsWithProduct = first is { SplitsWithProduct: true } || (first?.Sums is { Channels: -1 } && name is "chunk" or "split" or "tensor_split" && SplitsFeatures(call)),
        };
        int writes = tag.Memory.Writes;
        foreach (var (output, index) in TensorTree.Leaves(result).Select((t, i) => (t, i)))
        {
            // A view has other values once its memory was written to.
            var kernel = kernels(index);
            run.Tag(output, null, tag with { Kernel = kernel is null ? null : codes => tag.Memory.Writes == writes ? kernel(codes) : null });
        }

        return result;
    }

    /// <summary>The op has no integer form.</summary>
    internal static object? FloatingPoint(OdmlRun run, in OpCall call, OdmlOp op, string name)
    {
        var result = run.Proceed(call, AsAskedFor(run, call, run.NextSite(call, name)));
        run.Tag(result, null);
        return result;
    }

    /// <summary>A new tensor that takes shape and dtype of another, but none of its values.</summary>
    internal static object? Creates(OdmlRun run, in OpCall call, OdmlOp op, string name) => run.Proceed(call, call.Arguments);

    /// <summary>Batch norm fuses with a product before it; else it is an op like any other.</summary>
    internal static object? BatchNorm(OdmlRun run, in OpCall call, OdmlOp op, string name)
    {
        if (run.Tags[(Tensor)call.Arguments[0]!] is not { AllowsFusion: true } tag)
            return Quantized(run, call, op, name);
        var result = run.Proceed(call, call.Arguments);
        ProductSums? sums = null;
        if (tag.Sums is not null && call.Arguments[5] is false)
            (result, sums) = BiasRounding.BatchNorm(run, call, tag.Sums, (Tensor)result!);
        run.Tag(result, tag.Pending, new() { AllowsFusion = true, Sums = sums, Kernel = ProductKernels.Of(sums) });
        return result;
    }

    /// <summary>The arguments with each activation quantized by the rule that it waits with, if any.</summary>
    internal static object?[] AsAskedFor(OdmlRun run, in OpCall call, OdmlSite site)
    {
        object?[] arguments = [.. call.Arguments];
        for (int i = 0; i < arguments.Length; i++)
        {
            if (arguments[i] is Tensor tensor && run.IsActivation(tensor))
                arguments[i] = run.Quantize(tensor, run.Tags[tensor]!.Pending, site, i == 0 ? "" : $"input{i}");
        }

        return arguments;
    }

    private static bool SplitsFeatures(in OpCall call) =>
        DeviceKernels.Number(Arguments.Named(call, "dim")) is { } axis && (axis == -1 || axis == ((Tensor)call.Arguments[0]!).dim() - 1);

    private static object?[] QuantizeOperands(OdmlRun run, in OpCall call, OdmlOp op, OdmlSite site)
    {
        object?[] arguments = [.. call.Arguments];
        for (int i = 0; i < op.Operands; i++)
        {
            if (arguments[i] is Tensor tensor)
                arguments[i] = run.Quantize(tensor, site.Rule, site, op.Operands == 1 ? "" : i == 0 ? "lhs" : "rhs");
        }

        return arguments;
    }
}
