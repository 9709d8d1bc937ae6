using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Passes;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>
/// A convolution of integer codes: windows of the image are the rows of a product with the packed weight of each group. The
/// windows are made while the product packs its rows, so that they never lie in memory as a whole.
/// </summary>
internal sealed unsafe class PackedConvolution : ConvolutionKernel
{
    /// <summary>The bytes of a vector, which are transposed together.</summary>
    private const int Square = 16;

    private readonly ConvolutionShape _kernel;
    private readonly PackedWeight[] _groups;

    /// <summary>Packs the weight.</summary>
    /// <param name="codes">[out channels, channels of a group, kernel height, kernel width], row-major.</param>
    /// <param name="scales">[out channels].</param>
    /// <param name="kernel">The sizes; the image's own height and width are given with each image.</param>
    /// <param name="bits">1 … 8.</param>
    /// <exception cref="ArgumentException">Sizes that do not fit each other.</exception>
    public PackedConvolution(sbyte* codes, float* scales, ConvolutionShape kernel, int bits = 8)
    {
        kernel.Check();
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

    /// <summary>Quantizes an image and brings its channels last, as <see cref="Run"/> wants it.</summary>
    /// <param name="x">[channels, pixels] float32.</param>
    /// <param name="channels">The channels.</param>
    /// <param name="pixels">Height times width.</param>
    /// <param name="scale">The scale.</param>
    /// <param name="zeroPoint">The zero point.</param>
    /// <param name="range">The codes' range.</param>
    /// <param name="codes">[pixels, channels], the result.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void QuantizeImage(float* x, int channels, int pixels, float scale, int zeroPoint, CodeRange range, sbyte* codes, int threads)
    {
        const int Block = 64;
        RowsJob.Run((pixels + Block - 1) / Block, (long)Block * channels, threads, block =>
        {
            var quantized = stackalloc sbyte[4 * Block];
            var first = (int)block * Block;
            var count = Math.Min(Block, pixels - first);
            for (var channel = 0; channel < channels; channel += 4)
            {
                var together = Math.Min(4, channels - channel);
                for (var i = 0; i < together; i++)
                    RowQuantizer.Quantize(x + (long)(channel + i) * pixels + first, count, scale, zeroPoint, range, quantized + i * Block);
                PlaceChannels(quantized, Block, together, count, codes + (long)first * channels + channel, channels);
            }
        });
    }

    /// <summary>Brings the channels of an image of codes last, as <see cref="Run"/> wants them.</summary>
    /// <param name="image">[channels, pixels].</param>
    /// <param name="channels">The channels.</param>
    /// <param name="pixels">Height times width.</param>
    /// <param name="codes">[pixels, channels], the result.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void ChannelsLast(sbyte* image, int channels, int pixels, sbyte* codes, int threads)
    {
        const int Block = 256;
        RowsJob.Run((pixels + Block - 1) / Block, (long)Block * channels, threads, block =>
        {
            var first = (int)block * Block;
            var count = Math.Min(Block, pixels - first);
            var channel = 0;
            if (Sse2.IsSupported && count % Square == 0)
                for (; channel + Square <= channels; channel += Square)
                    for (var pixel = first; pixel < first + count; pixel += Square)
                        Transpose(image + (long)channel * pixels + pixel, pixels, codes + (long)pixel * channels + channel, channels);
            for (; channel < channels; channel += 4)
                PlaceChannels(image + (long)channel * pixels + first, pixels, Math.Min(4, channels - channel), count, codes + (long)first * channels + channel, channels);
        });
    }

    /// <inheritdoc/>
    public override void Run(sbyte* image, int height, int width, float scale, int zeroPoint, float* y, bool channelsLast, float* bias, FusedActivation activation, int threads, KernelSelector? selector = null)
    {
        var shape = _kernel with { Height = height, Width = width };
        shape.Check();
        var pixels = checked(shape.OutHeight * shape.OutWidth);
        for (var group = 0; group < shape.Groups; group++)
        {
            var windows = new ImageWindows(image, group * shape.GroupChannels, checked((sbyte)zeroPoint), shape);
            var input = new QuantizedInput
            {
                Source = QuantizedSource.Codes,
                Values = (nint)image,
                RowStride = 0,
                Rows = pixels,
                Windows = (nint)(&windows),
                Scales = (nint)(&scale),
                ZeroPoints = (nint)(&zeroPoint),
            };
            var first = group * shape.GroupOutChannels;
            var output = channelsLast
                ? new ProductOutput((nint)(y + first), shape.OutChannels, BiasOf(first), activation)
                : new ProductOutput((nint)(y + (long)first * pixels), 1, BiasOf(first), activation, pixels);
            MatMul.Quantized(input, _groups[group], output, threads, selector);
        }

        nint BiasOf(int channel) => bias == null ? 0 : (nint)(bias + channel);
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

    /// <summary>Sixteen channels of sixteen pixels, to sixteen pixels of sixteen channels: four shuffles of all bytes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Transpose(sbyte* from, long fromStride, sbyte* to, long toStride)
    {
        var rows = stackalloc Vector128<sbyte>[Square];
        var shuffled = stackalloc Vector128<sbyte>[Square];
        for (var i = 0; i < Square; i++)
            rows[i] = Vector128.Load(from + i * fromStride);
        for (var stage = 0; stage < 4; stage++)
        {
            for (var i = 0; i < Square / 2; i++)
            {
                shuffled[2 * i] = Sse2.UnpackLow(rows[i], rows[i + Square / 2]);
                shuffled[2 * i + 1] = Sse2.UnpackHigh(rows[i], rows[i + Square / 2]);
            }
            var swapped = rows;
            rows = shuffled;
            shuffled = swapped;
        }
        for (var i = 0; i < Square; i++)
            rows[i].Store(to + i * toStride);
    }

    /// <summary>Puts up to four channels of some pixels beside each other.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PlaceChannels(sbyte* from, int step, int together, int count, sbyte* target, int channels)
    {
        if (together == 4)
        {
            for (var i = 0; i < count; i++, target += channels)
                *(int*)target = (byte)from[i] | (byte)from[step + i] << 8 | (byte)from[2 * step + i] << 16 | from[3 * step + i] << 24;
            return;
        }
        for (var i = 0; i < count; i++, target += channels)
            for (var channel = 0; channel < together; channel++)
                target[channel] = from[channel * step + i];
    }

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
