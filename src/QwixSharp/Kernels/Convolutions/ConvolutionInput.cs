using QwixSharp.Kernels.Activations;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>How an image lies in memory.</summary>
internal enum ImageForm
{
    /// <summary>[height, width, channels] signed codes.</summary>
    Codes,

    /// <summary>[channels, height, width] signed codes.</summary>
    CodesChannelsFirst,

    /// <summary>[height, width, channels] codes + 128, as convolutions hand them over to each other.</summary>
    UnsignedCodes,

    /// <summary>[height, width, channels] float32, quantized on the way.</summary>
    Floats,

    /// <summary>[channels, height, width] float32, quantized on the way.</summary>
    FloatsChannelsFirst,
}

/// <summary>The image that is convolved.</summary>
/// <param name="Values">The first value.</param>
/// <param name="Form">How it lies in memory.</param>
/// <param name="Height">The image's height.</param>
/// <param name="Width">The image's width.</param>
/// <param name="Scale">What a code stands for.</param>
/// <param name="ZeroPoint">The zero point, in the signed codes' range: also what padding is filled with.</param>
/// <param name="Range">The range of the codes, for those that floating-point values become; for others it need not be given.</param>
/// <param name="Margin">
/// Pixels of padding that lie around the image on each side: with channels last alone. Behind it <see cref="ReadBehind"/> bytes can be
/// read if the image is of <see cref="ImageForm.UnsignedCodes"/>.
/// </param>
internal readonly record struct ConvolutionInput(nint Values, ImageForm Form, int Height, int Width, float Scale, int ZeroPoint = 0, CodeRange Range = default, int Margin = 0)
{
    /// <summary>Bytes that kernels may read behind an image of unsigned codes, of which they use none: 16 channels are read at once.</summary>
    public const int ReadBehind = 15;

    /// <summary>Whether no byte of the image has more than 7 bits, which some kernels gain by.</summary>
    public bool IsNarrow => Form == ImageForm.UnsignedCodes && Range.Highest < 0;

    /// <summary>Whether values are quantized on the way.</summary>
    public bool IsFloat => Form is ImageForm.Floats or ImageForm.FloatsChannelsFirst;

    /// <summary>Whether each channel lies together.</summary>
    public bool IsChannelsFirst => Form is ImageForm.CodesChannelsFirst or ImageForm.FloatsChannelsFirst;
}
