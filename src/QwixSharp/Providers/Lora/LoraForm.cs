using static TorchSharp.torch;

namespace QwixSharp.Providers.Lora;

/// <summary>
/// How a product with a weight goes through a low rank: the shapes of A and B, and what they add to the product and to
/// the weight. Shapes and order of axes are the reference's; kernels of convolutions are in PyTorch's order.
/// </summary>
internal abstract class LoraForm
{
    /// <summary>The shape of A.</summary>
    internal abstract long[] ShapeA(long rank);

    /// <summary>The shape of B.</summary>
    internal abstract long[] ShapeB(long rank);

    /// <summary>The largest rank that adds anything: the smaller side of the weight as a matrix.</summary>
    internal abstract long LargestRank { get; }

    /// <summary>How the adapter can be written to a file of PEFT's.</summary>
    internal abstract LoraLayout Layout { get; }

    /// <summary>Why a rank cannot be used although it is small enough; null where it can.</summary>
    internal virtual string? FaultOf(long rank) => null;

    /// <summary>What the adapter adds to the product, before scaling. Gradients flow to all three.</summary>
    internal abstract Tensor Delta(Tensor x, Tensor a, Tensor b);

    /// <summary>What the adapter adds to the weight as the op sees it, before scaling.</summary>
    /// <exception cref="NotSupportedException">No weight of that shape does the same.</exception>
    internal abstract Tensor WeightDelta(Tensor a, Tensor b);

    /// <summary>Whether another op uses the weight in the same way.</summary>
    internal bool Fits(LoraForm other) => Layout == other.Layout && ShapeA(1).SequenceEqual(other.ShapeA(1)) && ShapeB(1).SequenceEqual(other.ShapeB(1));

    protected static long Product(IEnumerable<long> lengths) => lengths.Aggregate(1L, (a, b) => a * b);
}

/// <summary>What PEFT has a layout for.</summary>
internal enum LoraLayout
{
    /// <summary>A is [in, rank], B is [rank, out].</summary>
    Matrix,

    /// <summary>A is a kernel [rank, in ÷ groups, spatial…], B is [rank, out].</summary>
    Convolution,

    /// <summary>Neither: PEFT has none.</summary>
    Other,
}
