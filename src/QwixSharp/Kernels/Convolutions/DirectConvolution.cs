namespace QwixSharp.Kernels.Convolutions;

/// <summary>
/// A convolution whose inner loops read the windows where they lie in the image: an image of unsigned codes with its channels last
/// and its padding around it.
/// </summary>
/// <remarks>
/// With unsigned codes u = a + 128, sums of (a − zero point) · w are those of u · w and (−128 − zero point) · Σw, the same for all
/// windows.
/// </remarks>
internal sealed unsafe class DirectConvolution : ConvolutionKernel
{
    /// <summary>The longest window whose sum cannot leave 32 bits.</summary>
    public const int LongestWindow = 65536;

    /// <summary>The most columns of a kernel whose weights stay in registers.</summary>
    public const int MostDepthwiseColumns = 16;

    private readonly ConvolutionShape _kernel;
    private readonly SegmentedWeight _weight;
    private readonly KernelSelector? _selector;
    private WindowKernel? _inner;
    private WindowKernel? _innerForNarrow;

    /// <summary>Packs the weight.</summary>
    /// <param name="codes">[out channels, channels of a group, kernel height, kernel width], row-major.</param>
    /// <param name="scales">[out channels].</param>
    /// <param name="kernel">The sizes; the image's own height and width are given with each image.</param>
    /// <param name="selector">Chooses the inner loops.</param>
    /// <exception cref="ArgumentException">Sizes that do not fit each other.</exception>
    public DirectConvolution(sbyte* codes, float* scales, ConvolutionShape kernel, KernelSelector selector)
    {
        kernel.Check();
        _kernel = kernel;
        _selector = selector;
        _weight = new SegmentedWeight(codes, scales, kernel);
    }

    /// <summary>Packs the weight of a depthwise convolution.</summary>
    /// <param name="codes">[channels, 1, kernel height, kernel width], row-major.</param>
    /// <param name="scales">[channels].</param>
    /// <param name="kernel">The sizes; the image's own height and width are given with each image.</param>
    /// <param name="depthwise">The inner loops.</param>
    /// <exception cref="ArgumentException">Sizes that do not fit each other.</exception>
    public DirectConvolution(sbyte* codes, float* scales, ConvolutionShape kernel, WindowKernel depthwise)
    {
        kernel.Check();
        // The weight is that of one image channel, and what differs is which channels a panel reads.
        _kernel = kernel with { Groups = 1 };
        (_inner, _innerForNarrow) = (depthwise, depthwise);
        _weight = new SegmentedWeight(codes, scales, _kernel with { Channels = 1 });
    }

    /// <inheritdoc/>
    public override int Margin => DirectJob.CanReadInPlace(_selector is null, _kernel) ? _kernel.WidestPadding : 0;

    /// <inheritdoc/>
    public override bool Pools => !DirectJob.IsLarge(_weight);

    /// <inheritdoc/>
    public override bool Run(in ConvolutionInput image, in ConvolutionOutput output, int threads)
    {
        var shape = _kernel with { Height = image.Height, Width = image.Width };
        shape.Check();
        // Found when needed: to look for what must be clipped takes time.
        ref var inner = ref image.IsNarrow ? ref _innerForNarrow : ref _inner;
        inner ??= _selector!.Windows(_weight, shape, image.IsNarrow);
        return DirectJob.Run(inner, _weight, shape, image, output, threads);
    }

    /// <inheritdoc/>
    public override void CopyCodes(sbyte* codes, int threads) => _weight.CopyCodes(codes);

    /// <inheritdoc/>
    public override float Scale(int channel) => _weight.Scales[_weight.Place(channel)];

    /// <inheritdoc/>
    public override void Dispose() => _weight.Dispose();
}
