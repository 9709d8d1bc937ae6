using QwixSharp.Interception;
using QwixSharp.Providers.Odml.Device;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Odml;

/// <summary>The sums of a product on the device, one kind for each output channel.</summary>
/// <param name="Channels">The axis of the output channels, from behind.</param>
/// <param name="Steps">What one step of a sum is worth, in double precision: the input's scale times the weight's.</param>
/// <param name="Bias">The bias before it was rounded to steps, or 0.</param>
/// <param name="Rounded">The bias in whole steps, which the values have.</param>
/// <param name="Codes">The product of the codes, where it is computed as the device does.</param>
internal sealed record ProductSums(int Channels, Tensor Steps, Tensor Bias, Tensor Rounded, CodeProduct? Codes);

/// <summary>
/// Devices add a bias to the sums of a product, as a whole number of their steps. What that takes from the bias is small, but moves a code now and
/// then, and a deep network spreads it. Batch norm that fuses with the product makes a bias of its own of it, and so do constants that are added.
/// </summary>
internal static class BiasRounding
{
    /// <summary>A product's result with its bias in whole steps; what is known of the sums goes into the tag.</summary>
    internal static (Tensor Result, ProductSums? Sums) Product(OdmlRun run, in OpCall call, string name, Tensor lhs, Tensor rhs, Tensor result, Func<object?[], Tensor, Tensor, object?[]> place)
    {
        int channels = Channels(name, run.RoundsAsDevice, rhs);
        if (channels == 0 || !run.Provider.RoundsBiases || run.IsTraced || run.Tags[lhs]?.Codes is not { Scale.Count: 1 } input || run.Tags[rhs]?.Codes is not { } weight)
            return (result, null);
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        long features = result.shape[^-channels];
        var steps = (tensor([.. weight.Scale]).to(ScalarType.Float64) * (double)input.Scale[0]).to(result.device);
        steps = features % steps.shape[0] == 0 ? steps.repeat(features / steps.shape[0]) : steps.expand(features);
        var bias = OpMap.Arguments.Named(call, "bias") as Tensor ?? zeros_like(steps);
        bias = bias.detach().to(ScalarType.Float64);
        var sums = Own(run, channels, steps, bias, ProductKernels.OfWeight(run, call, name, lhs, rhs, features, place));
        result = Move(result, sums.Rounded - bias, channels);
        return (result.MoveToOuterDisposeScope(), sums);
    }

    /// <summary>Batch norm's result after such a product, with the bias that the two have together in whole steps.</summary>
    internal static (Tensor Result, ProductSums Sums) BatchNorm(OdmlRun run, in OpCall call, ProductSums before, Tensor result)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        object?[] arguments = call.Arguments;
        Tensor Exact(int argument) => ((Tensor)arguments[argument]!).detach().to(ScalarType.Float64);
        var factor = (Exact(2) + (double)arguments[7]!).rsqrt();
        if (arguments[3] is Tensor)
            factor *= Exact(3);
        var shift = -Exact(1) * factor;
        if (arguments[4] is Tensor)
            shift += Exact(4);
        // The exporter has both in single precision.
        (factor, shift) = (Single(factor), Single(shift));
        var sums = Own(run, before.Channels, before.Steps * factor, (before.Bias * factor) + shift, before.Codes);
        return (Move(result, sums.Rounded - ((before.Rounded * factor) + shift), before.Channels).MoveToOuterDisposeScope(), sums);
    }

    /// <summary>The sums after a constant was added to each channel, or taken from it; null where it differs along other axes.</summary>
    internal static (Tensor Result, ProductSums? Sums) Constant(OdmlRun run, ProductSums before, Tensor result, object? constant, int sign)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var values = constant is Tensor added ? added.detach() : DeviceKernels.Number(constant) is { } number ? tensor((float)number) : null;
        long features = before.Steps.shape[0];
        int axis = values is null ? 0 : (int)values.dim() + before.Channels;
        if (values is null || (values.NumberOfElements != 1 && (values.NumberOfElements != features || axis < 0 || values.shape[axis] != features)))
            return (result, null);
        values = values.reshape(-1).to(ScalarType.Float64) * sign;
        var sums = Own(run, before.Channels, before.Steps, before.Bias + values, before.Codes);
        return (Move(result, sums.Rounded - before.Rounded - values, before.Channels).MoveToOuterDisposeScope(), sums);
    }

    private static int Channels(string name, bool roundsAsDevice, Tensor weight) => name switch
    {
        "linear" => -1,
        "conv1d" => -2,
        "conv2d" => -3,
        "conv_transpose1d" when roundsAsDevice => -2,
        "conv_transpose2d" when roundsAsDevice => -3,
        "matmul" or "mm" when roundsAsDevice && weight.dim() == 2 => -1,
        _ => 0,
    };

    private static ProductSums Own(OdmlRun run, int channels, Tensor steps, Tensor bias, CodeProduct? codes) => new(
        channels,
        run.Own(steps.clone()),
        run.Own(bias = Single(bias)),
        run.Own(where(steps.eq(0), bias, (bias / steps).round() * steps)),
        codes);

    /// <summary>Numbers that have been in single precision.</summary>
    private static Tensor Single(Tensor values) => values.to(ScalarType.Float32).to(ScalarType.Float64);

    private static Tensor Move(Tensor result, Tensor distance, int channels)
    {
        long[] shape = [-1, .. Enumerable.Repeat(1L, -channels - 1)];
        using (result)
            return result + distance.reshape(shape).to(result.dtype);
    }
}
