using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>
/// A convolution of integer codes: windows of the image are the rows of a product with the packed weight of each group. The
/// windows are made while the product packs its rows, so that they never lie in memory as a whole.
/// </summary>
internal sealed unsafe class PackedConvolution : ConvolutionKernel
{
    /// <summary>float32 results that are not finished yet.</summary>
    [ThreadStatic]
    private static Workspace? _values;

    private readonly ConvolutionShape _kernel;
    private readonly KernelSelector? _selector;
    private readonly PackedWeight[] _groups;

    /// <summary>Packs the weight.</summary>
    /// <param name="codes">[out channels, channels of a group, kernel height, kernel width], row-major.</param>
    /// <param name="scales">[out channels].</param>
    /// <param name="kernel">The sizes; the image's own height and width are given with each image.</param>
    /// <param name="bits">1 … 8.</param>
    /// <param name="selector">Which kernels; the best of the machine if null.</param>
    /// <exception cref="ArgumentException">Sizes that do not fit each other.</exception>
    public PackedConvolution(sbyte* codes, float* scales, ConvolutionShape kernel, int bits = 8, KernelSelector? selector = null)
    {
        kernel.Check();
        _selector = selector;
        _kernel = kernel;
        _groups = new PackedWeight[kernel.Groups];
        using var reordered = new AlignedMemory((long)kernel.GroupOutChannels * kernel.WindowSize);
        for (var group = 0; group < kernel.Groups; group++)
        {
            var first = group * kernel.GroupOutChannels;
            Reorder(codes + (long)first * kernel.WindowSize, (sbyte*)reordered.Pointer);
            _groups[group] = PackedWeight.FromIntegers((sbyte*)reordered.Pointer, scales + first, kernel.GroupOutChannels, kernel.WindowSize, kernel.WindowSize, bits);
        }
    }

    /// <inheritdoc/>
    public override bool Run(in ConvolutionInput image, in ConvolutionOutput output, int threads)
    {
        var shape = _kernel with { Height = image.Height, Width = image.Width };
        shape.Check();
        var pixels = checked(shape.OutHeight * shape.OutWidth);
        var codes = SignedImage.Of(image, shape.Channels, threads, out var isFinite);
        if (FloatFinish.IsPlain(output))
        {
            var activation = output.Activation == ImageActivation.Relu ? FusedActivation.Relu : FusedActivation.None;
            Multiply(codes, image, shape, output.Floats, output.ChannelsLast, output.Bias, activation, threads);
            return isFinite;
        }
        var values = (float*)(_values ??= new Workspace()).Reserve((long)pixels * shape.OutChannels * sizeof(float));
        Multiply(codes, image, shape, (nint)values, channelsLast: true, 0, FusedActivation.None, threads);
        isFinite &= FloatFinish.Run(values, shape.OutHeight, shape.OutWidth, shape.OutChannels, output, threads);
        _values.Trim();
        return isFinite;
    }

    private void Multiply(sbyte* codes, in ConvolutionInput image, in ConvolutionShape shape, nint y, bool channelsLast, nint bias, FusedActivation activation, int threads)
    {
        var pixels = shape.OutHeight * shape.OutWidth;
        var (scale, zeroPoint) = (image.Scale, image.ZeroPoint);
        for (var group = 0; group < shape.Groups; group++)
        {
            var windows = new ImageWindows(codes, group * shape.GroupChannels, checked((sbyte)zeroPoint), shape);
            var input = new QuantizedInput
            {
                Source = QuantizedSource.Codes,
                Values = (nint)codes,
                RowStride = 0,
                Rows = pixels,
                Windows = (nint)(&windows),
                Scales = (nint)(&scale),
                ZeroPoints = (nint)(&zeroPoint),
            };
            var first = group * shape.GroupOutChannels;
            var addend = bias == 0 ? 0 : (nint)((float*)bias + first);
            var output = channelsLast
                ? new ProductOutput((nint)((float*)y + first), shape.OutChannels, addend, activation)
                : new ProductOutput((nint)((float*)y + (long)first * pixels), 1, addend, activation, pixels);
            MatMul.Quantized(input, _groups[group], output, threads, _selector);
        }
    }

    /// <inheritdoc/>
    public override void CopyCodes(sbyte* codes, int threads)
    {
        using var reordered = new AlignedMemory((long)_kernel.GroupOutChannels * _kernel.WindowSize);
        for (var group = 0; group < _kernel.Groups; group++)
        {
            _groups[group].CopyCodes(reordered.Pointer, threads);
            Reorder((sbyte*)reordered.Pointer, codes + (long)group * _kernel.GroupOutChannels * _kernel.WindowSize, back: true);
        }
    }

    /// <inheritdoc/>
    public override float Scale(int channel) => _groups[channel / _kernel.GroupOutChannels].Scale(channel % _kernel.GroupOutChannels, 0);

    /// <inheritdoc/>
    public override void Dispose() => Array.ForEach(_groups, g => g.Dispose());

    /// <summary>From channels first to channels last within the rows of a group, or back.</summary>
    private void Reorder(sbyte* from, sbyte* to, bool back = false)
    {
        var (channels, area) = (_kernel.GroupChannels, _kernel.KernelHeight * _kernel.KernelWidth);
        for (var row = 0; row < _kernel.GroupOutChannels; row++, from += _kernel.WindowSize, to += _kernel.WindowSize)
        {
            for (var channel = 0; channel < channels; channel++)
            {
                for (var place = 0; place < area; place++)
                {
                    var (first, last) = (channel * area + place, place * channels + channel);
                    to[back ? first : last] = from[back ? last : first];
                }
            }
        }
    }
}
