using QwixSharp.Interception;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Odml;

/// <summary>The sums of a product on the device, one kind for each output channel.</summary>
/// <param name="Steps">What one step of a sum is worth: the input's scale times the weight's.</param>
/// <param name="Bias">The bias before it was rounded to steps, or 0.</param>
/// <param name="Rounded">The bias in whole steps, which the values have.</param>
internal sealed record ProductSums(Tensor Steps, Tensor Bias, Tensor Rounded);

/// <summary>
/// Devices add a bias to the sums of a product, as a whole number of their steps. What that takes from the bias is small, but moves a code now and
/// then, and a deep network spreads it. Batch norm that fuses with the product makes a bias of its own of it.
/// </summary>
internal static class BiasRounding
{
    /// <summary>A product's result with its bias in whole steps; what is known of the sums goes into the tag.</summary>
    internal static (Tensor Result, ProductSums? Sums) Product(OdmlRun run, in OpCall call, string name, Tensor lhs, Tensor rhs, Tensor result)
    {
        int channels = name switch { "linear" => -1, "conv1d" => -2, "conv2d" => -3, _ => 0 };
        if (channels == 0 || !run.Provider.RoundsBiases || run.IsTraced || run.Tags[lhs]?.Codes is not { Scale.Count: 1 } input || run.Tags[rhs]?.Codes is not { } weight)
            return (result, null);
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var steps = (tensor([.. weight.Scale]) * input.Scale[0]).to(result.device).expand(result.shape[^(-channels)]);
        var bias = call.Arguments[2] as Tensor ?? zeros_like(steps);
        var sums = Own(run, steps, bias, steps);
        result = Move(result, sums.Rounded - bias, channels);
        return (result.MoveToOuterDisposeScope(), sums);
    }

    /// <summary>Batch norm's result after such a product, with the bias that the two have together in whole steps.</summary>
    internal static (Tensor Result, ProductSums Sums) BatchNorm(OdmlRun run, in OpCall call, ProductSums before, Tensor result)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        Tensor mean = (Tensor)call.Arguments[1]!, variance = (Tensor)call.Arguments[2]!;
        var factor = (variance + (double)call.Arguments[7]!).rsqrt();
        if (call.Arguments[3] is Tensor weight)
            factor *= weight;
        var bias = (before.Bias - mean) * factor;
        var shift = (before.Rounded - mean) * factor;
        if (call.Arguments[4] is Tensor offset)
            (bias, shift) = (bias + offset, shift + offset);
        var sums = Own(run, before.Steps * factor, bias, before.Steps * factor);
        return (Move(result, sums.Rounded - shift, 1 - (int)result.dim()).MoveToOuterDisposeScope(), sums);
    }

    private static ProductSums Own(OdmlRun run, Tensor steps, Tensor bias, Tensor scale) =>
        new(run.Own(steps.clone()), run.Own(bias.clone()), run.Own(where(scale.eq(0), bias, (bias.to(ScalarType.Float64) / scale).round().mul(scale).to(bias.dtype))));

    private static Tensor Move(Tensor result, Tensor distance, int channels)
    {
        long[] shape = [-1, .. Enumerable.Repeat(1L, -channels - 1)];
        using (result)
            return result + distance.reshape(shape);
    }
}
