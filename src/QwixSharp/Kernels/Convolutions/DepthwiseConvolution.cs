namespace QwixSharp.Kernels.Convolutions;

/// <summary>A convolution in which every channel has a kernel of its own: sixteen channels of a pixel are worked on at once.</summary>
internal sealed unsafe class DepthwiseConvolution : ConvolutionKernel
{
    private const int Columns = DepthwiseJob.Columns;

    private readonly ConvolutionShape _kernel;
    private readonly int _taps;
    private readonly int _panels;
    private readonly AlignedMemory _weights;
    private readonly AlignedMemory _scales;
    private readonly AlignedMemory _sums;

    /// <summary>Packs the weight.</summary>
    /// <param name="codes">[channels, 1, kernel height, kernel width], row-major.</param>
    /// <param name="scales">[channels].</param>
    /// <param name="kernel">The sizes; the image's own height and width are given with each image.</param>
    /// <exception cref="ArgumentException">Sizes that do not fit each other.</exception>
    public DepthwiseConvolution(sbyte* codes, float* scales, ConvolutionShape kernel)
    {
        kernel.Check();
        _kernel = kernel;
        _taps = kernel.KernelHeight * kernel.KernelWidth;
        _panels = (kernel.Channels + Columns - 1) / Columns;
        _weights = new AlignedMemory((long)_panels * _taps * Columns * sizeof(short));
        _scales = new AlignedMemory((long)_panels * Columns * sizeof(float));
        _sums = new AlignedMemory((long)_panels * Columns * sizeof(int));
        for (var channel = 0; channel < kernel.Channels; channel++)
        {
            ((float*)_scales.Pointer)[channel] = scales[channel];
            for (var tap = 0; tap < _taps; tap++)
            {
                var code = codes[(long)channel * _taps + tap];
                *Weight(channel, tap) = code;
                ((int*)_sums.Pointer)[channel] += code;
            }
        }
    }

    /// <inheritdoc/>
    public override bool Run(in ConvolutionInput image, in ConvolutionOutput output, int threads)
    {
        var shape = _kernel with { Height = image.Height, Width = image.Width };
        shape.Check();
        var pixels = checked(shape.OutHeight * shape.OutWidth);
        var codes = SignedImage.Of(image, shape.Channels, threads, out var isFinite);
        var weight = new DepthwiseWeight { Codes = (short*)_weights.Pointer, Scales = (float*)_scales.Pointer, Sums = (int*)_sums.Pointer, Taps = _taps, Panels = _panels };
        var work = (long)pixels * shape.Channels * _taps;
        return DepthwiseJob.Run(weight, shape, codes, image, output, work < DepthwiseJob.SmallestShared ? 1 : threads) & isFinite;
    }

    /// <inheritdoc/>
    public override void CopyCodes(sbyte* codes, int threads)
    {
        for (var channel = 0; channel < _kernel.Channels; channel++)
            for (var tap = 0; tap < _taps; tap++)
                codes[(long)channel * _taps + tap] = (sbyte)*Weight(channel, tap);
    }

    /// <inheritdoc/>
    public override float Scale(int channel) => ((float*)_scales.Pointer)[channel];

    /// <inheritdoc/>
    public override void Dispose()
    {
        _weights.Dispose();
        _scales.Dispose();
        _sums.Dispose();
    }

    /// <summary>The weight lies as [panel][tap][16] 16-bit words.</summary>
    private short* Weight(int channel, int tap) => (short*)_weights.Pointer + ((long)(channel / Columns) * _taps + tap) * Columns + channel % Columns;
}
