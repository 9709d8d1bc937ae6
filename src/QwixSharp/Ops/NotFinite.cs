using QwixSharp.Numerics;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>
/// NaN and infinity: weights may not have any. In activations whose scale is not made of them, being static or of a fixed range, they get
/// a code as any value does, but no finite number may come of them.
/// </summary>
internal static class NotFinite
{
    /// <summary>Whether there are any; now and then also where very large values add up to infinity.</summary>
    internal static bool IsIn(Tensor values)
    {
        if (values.device_type == DeviceType.META)
            return false;
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        return !float.IsFinite(values.sum().to(ScalarType.Float32).item<float>());
    }

    /// <summary>Whether all values are finite. The usual answer takes one pass over them and no memory.</summary>
    internal static bool IsNowhereIn(Tensor values)
    {
        if (!IsIn(values))
            return true;
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        return values.isfinite().all().item<bool>();
    }

    /// <summary>NaN for each value that is not finite, and 0 for others: an op on these gives NaN wherever its result depends on one.</summary>
    internal static Tensor Marks(Tensor values) => values.to(Dtype(values)).mul(LastingNumber.Of(0));

    /// <summary>What marks are multiplied with instead of a weight.</summary>
    internal static Tensor Ones(Tensor weight) => ones([1], dtype: Dtype(weight), device: weight.device).expand(weight.shape);

    private static ScalarType Dtype(Tensor of) =>
        of.device_type != DeviceType.CPU || LibtorchConvolution.AddsUpPlainly(of.device) ? of.dtype : ScalarType.Float64;
}
