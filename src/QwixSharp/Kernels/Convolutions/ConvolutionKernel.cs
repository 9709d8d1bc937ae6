namespace QwixSharp.Kernels.Convolutions;

/// <summary>A convolution of integer codes whose weight is packed.</summary>
internal abstract unsafe class ConvolutionKernel : IDisposable
{
    /// <summary>Packs a weight for the kernel that serves it best.</summary>
    /// <param name="codes">[out channels, channels of a group, kernel height, kernel width], row-major.</param>
    /// <param name="scales">[out channels].</param>
    /// <param name="shape">The sizes; the image's own height and width are given with each image.</param>
    /// <param name="bits">1 … 8.</param>
    /// <param name="selector">Which kernels; the best of the machine if null.</param>
    /// <exception cref="ArgumentException">Sizes that do not fit each other.</exception>
    public static ConvolutionKernel Pack(sbyte* codes, float* scales, ConvolutionShape shape, int bits = 8, KernelSelector? selector = null)
    {
        selector ??= KernelSelector.Default;
        if (shape.IsDepthwise)
            return selector.Depthwise(shape) is { } depthwise ? new DirectConvolution(codes, scales, shape, depthwise) : new DepthwiseConvolution(codes, scales, shape);
        return selector.ServesWindows(shape, bits)
            ? new DirectConvolution(codes, scales, shape, selector)
            : new PackedConvolution(codes, scales, shape, bits, selector);
    }

    /// <summary>How much padding an image of unsigned codes should have around it, so that it is read where it lies.</summary>
    public virtual int Margin => 0;

    /// <summary>Whether an output may say <see cref="ConvolutionOutput.Pool"/>.</summary>
    public virtual bool Pools => false;

    /// <summary>Convolves one image: exact sums, and what the output says.</summary>
    /// <param name="image">The image.</param>
    /// <param name="output">The result.</param>
    /// <param name="threads">How many threads take part.</param>
    /// <returns>
    /// Whether all values were finite, those of the image and those of the result. Where not, codes mean nothing; float32 results
    /// of an image of codes are right all the same.
    /// </returns>
    /// <exception cref="ArgumentException">The kernel does not fit the image.</exception>
    public abstract bool Run(in ConvolutionInput image, in ConvolutionOutput output, int threads);

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
