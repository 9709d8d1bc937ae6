using QwixSharp.Kernels.Activations;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>
/// What becomes of the sums of a convolution, in this order: scaled, bias added, normalized, another tensor added, activated, pooled;
/// then stored as float32, as codes, or both. What is null is left out.
/// </summary>
internal readonly unsafe record struct ConvolutionOutput
{
    /// <summary>The result in float32: [out channels, pixels], or [pixels, out channels] if <see cref="ChannelsLast"/>; or null.</summary>
    public nint Floats { get; init; }

    /// <summary>The result as codes in the same layout: codes + 128 with channels last, signed codes with channels first; or null.</summary>
    public nint Codes { get; init; }

    /// <summary>Pixels that lie around the codes on each side and are not written: with channels last alone.</summary>
    public int CodesMargin { get; init; }

    /// <summary>The layout.</summary>
    public bool ChannelsLast { get; init; }

    /// <summary>[out channels] float32, or null.</summary>
    public nint Bias { get; init; }

    /// <summary>[out channels] float32 that values are multiplied by, or null.</summary>
    public nint Factor { get; init; }

    /// <summary>[out channels] float32 that is added to values times <see cref="Factor"/>.</summary>
    public nint Offset { get; init; }

    /// <summary>[pixels, out channels] float32 that is added, or null.</summary>
    public nint Addend { get; init; }

    /// <summary>Applied before the result is stored.</summary>
    public ImageActivation Activation { get; init; }

    /// <summary>The largest value of each of these windows is the result, or null; see <see cref="ConvolutionKernel.Pools"/>.</summary>
    public PoolWindow? Pool { get; init; }

    /// <summary>What a code of the result stands for.</summary>
    public float CodeScale { get; init; }

    /// <summary>The zero point of the result's codes.</summary>
    public int CodeZeroPoint { get; init; }

    /// <summary>The range of the result's codes.</summary>
    public CodeRange CodeRange { get; init; }

    /// <summary>
    /// Whether codes with channels last are stored as they are, without 128: those of a range from 0 on, so that the next convolution reads bytes of 7 bits. To it they are
    /// codes from −128 on.
    /// </summary>
    public bool StoresNarrow { get; init; }
}
