using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>
/// A convolution's weight for a <see cref="WindowKernel"/>: panels of 16 output channels, cut along the contraction into the
/// segments of a window, which are the runs of codes that lie side by side in an image with its channels last.
/// </summary>
/// <remarks>
/// Rows of the kernel are segments where nothing lies between its columns; else each of its places is one. A segment is filled up
/// with zeros to whole groups of four, which take no part whatever the image has behind it.
/// </remarks>
internal sealed unsafe class SegmentedWeight : IDisposable
{
    private const int Columns = PackedWeight.PanelColumns;

    private readonly ConvolutionShape _kernel;
    private readonly Lazy<ClippedPanels?> _clipped;
    private readonly Lazy<ClippedPanels?> _clippedForNarrow;
    private readonly AlignedMemory _codes;
    private readonly AlignedMemory _scales;
    private readonly AlignedMemory _sums;

    /// <summary>Packs a weight.</summary>
    /// <param name="codes">[out channels, channels of a group, kernel height, kernel width], row-major.</param>
    /// <param name="scales">[out channels].</param>
    /// <param name="kernel">The sizes.</param>
    public SegmentedWeight(sbyte* codes, float* scales, ConvolutionShape kernel)
    {
        _kernel = kernel;
        _clipped = new(() => ClippedPanels.Find(this, isNarrow: false));
        _clippedForNarrow = new(() => ClippedPanels.Find(this, isNarrow: true));
        var isDense = kernel.DilationX == 1 && kernel.Groups == 1;
        PlacesPerSegment = isDense ? kernel.KernelWidth : 1;
        Segments = kernel.KernelHeight * kernel.KernelWidth / PlacesPerSegment;
        Groups = (PlacesPerSegment * kernel.GroupChannels + 3) / 4;
        Panels = (kernel.GroupOutChannels + Columns - 1) / Columns;
        PanelBytes = (long)Segments * Groups * 64;
        var channels = (long)kernel.Groups * Panels * Columns;
        _codes = new AlignedMemory(PanelBytes * AllPanels);
        _scales = new AlignedMemory(channels * sizeof(float));
        _sums = new AlignedMemory(channels * sizeof(int));
        for (var channel = 0; channel < kernel.OutChannels; channel++)
        {
            var place = Place(channel);
            Scales[place] = scales[channel];
            Sums[place] = RowQuantizer.Sum(codes + (long)channel * kernel.WindowSize, kernel.WindowSize);
            Copy(channel, codes + (long)channel * kernel.WindowSize, back: false);
        }
    }

    /// <summary>The segments of a window.</summary>
    public int Segments { get; }

    /// <summary>The places of the kernel that a segment covers.</summary>
    public int PlacesPerSegment { get; }

    /// <summary>Groups of four codes in a segment.</summary>
    public int Groups { get; }

    /// <summary>The panels of a group of channels.</summary>
    public int Panels { get; }

    /// <summary>The panels of all groups.</summary>
    public int AllPanels => _kernel.Groups * Panels;

    /// <summary>The bytes of a panel.</summary>
    public long PanelBytes { get; }

    /// <summary>The panels of all groups, one behind the other: [segment][group][16][4].</summary>
    public sbyte* Codes => (sbyte*)_codes.Pointer;

    /// <summary>[panel of all groups][16] scales.</summary>
    public float* Scales => (float*)_scales.Pointer;

    /// <summary>[panel of all groups][16] sums of the codes of an output channel.</summary>
    public int* Sums => (int*)_sums.Pointer;

    /// <summary>What is clipped off the codes for products of 16 bits; null where that is too much. Found when first asked for.</summary>
    /// <param name="isNarrow">Whether for images of 7 bits.</param>
    public ClippedPanels? Clipped(bool isNarrow) => (isNarrow ? _clippedForNarrow : _clipped).Value;

    /// <summary>Where an output channel is in what has 16 entries a panel.</summary>
    /// <param name="channel">The channel, all groups together.</param>
    public int Place(int channel)
    {
        var (group, inGroup) = Math.DivRem(channel, _kernel.GroupOutChannels);
        return group * Panels * Columns + inGroup;
    }

    /// <summary>Gives the codes back as they were packed.</summary>
    /// <param name="codes">[out channels, channels of a group, kernel height, kernel width], row-major, the result.</param>
    public void CopyCodes(sbyte* codes)
    {
        for (var channel = 0; channel < _kernel.OutChannels; channel++)
            Copy(channel, codes + (long)channel * _kernel.WindowSize, back: true);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var clipped in new[] { _clipped, _clippedForNarrow })
            if (clipped.IsValueCreated)
                clipped.Value?.Dispose();
        _codes.Dispose();
        _scales.Dispose();
        _sums.Dispose();
    }

    /// <summary>Copies an output channel's codes into its panel, or back.</summary>
    private void Copy(int channel, sbyte* codes, bool back)
    {
        var area = _kernel.KernelHeight * _kernel.KernelWidth;
        var (panel, column) = Math.DivRem(Place(channel), Columns);
        var target = Codes + panel * PanelBytes + column * 4;
        for (var segment = 0; segment < Segments; segment++, target += (nint)Groups * 64)
        {
            var depth = 0;
            for (var place = segment * PlacesPerSegment; place < (segment + 1) * PlacesPerSegment; place++)
                for (var i = 0; i < _kernel.GroupChannels; i++, depth++)
                {
                    var packed = target + (depth >> 2) * 64 + (depth & 3);
                    var plain = codes + (long)i * area + place;
                    *(back ? plain : packed) = *(back ? packed : plain);
                }
        }
    }
}
