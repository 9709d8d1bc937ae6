namespace QwixSharp.Kernels.Convolutions;

/// <summary>A convolution of integer codes whose weight is packed.</summary>
internal abstract unsafe class ConvolutionKernel : IDisposable
{
    /// <summary>Packs a weight for the kernel that serves it best.</summary>
    /// <param name="codes">[out channels, channels of a group, kernel height, kernel width], row-major.</param>
    /// <param name="scales">[out channels].</param>
    /// <param name="shape">The sizes; the image's own height and width are given with each image.</param>
    /// <param name="bits">1 … 8.</param>
    /// <exception cref="ArgumentException">Sizes that do not fit each other.</exception>
    public static ConvolutionKernel Pack(sbyte* codes, float* scales, ConvolutionShape shape, int bits = 8) =>
        shape.IsDepthwise ? new DepthwiseConvolution(codes, scales, shape) : new PackedConvolution(codes, scales, shape, bits);

    /// <summary>Convolves one image; exact sums, then scale, bias and activation.</summary>
    /// <param name="image">[height, width, channels] codes.</param>
    /// <param name="height">The image's height.</param>
    /// <param name="width">The image's width.</param>
    /// <param name="scale">The image's scale.</param>
    /// <param name="zeroPoint">The image's zero point, in the codes' range: also what padding is filled with.</param>
    /// <param name="y">The result: [out channels, pixels], or [pixels, out channels] if <paramref name="channelsLast"/>.</param>
    /// <param name="channelsLast">The result's layout.</param>
    /// <param name="bias">[out channels], or null.</param>
    /// <param name="activation">Applied last.</param>
    /// <param name="threads">How many threads take part.</param>
    /// <param name="selector">Which kernels; the best of the machine if null.</param>
    /// <exception cref="ArgumentException">The kernel does not fit the image.</exception>
    public abstract void Run(sbyte* image, int height, int width, float scale, int zeroPoint, float* y, bool channelsLast, float* bias, FusedActivation activation, int threads, KernelSelector? selector = null);

    /// <summary>Gives the codes back as they were packed.</summary>
    /// <param name="codes">[out channels, channels of a group, kernel height, kernel width], row-major, the result.</param>
    /// <param name="threads">How many threads take part.</param>
    public abstract void CopyCodes(sbyte* codes, int threads);

    /// <summary>The scale of an output channel.</summary>
    /// <param name="channel">The channel, all groups together.</param>
    public abstract float Scale(int channel);

    /// <summary>Frees the weight.</summary>
    public abstract void Dispose();
}
