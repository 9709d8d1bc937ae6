using static TorchSharp.torch;

namespace QwixSharp.Arrays;

/// <summary>An array that was quantized and dequantized at once.</summary>
/// <param name="Values">The numbers.</param>
/// <param name="Inside">A bit an element, 1 where the value was not clipped (see <see cref="Kernels.Passes.BitMaskPass"/>); null where nobody asked, or nothing can be clipped.</param>
internal sealed record RoundedArray(Tensor Values, Tensor? Inside)
{
    internal RoundedArray MoveToOuterDisposeScope() => new(Values.MoveToOuterDisposeScope(), Inside?.MoveToOuterDisposeScope());
}
