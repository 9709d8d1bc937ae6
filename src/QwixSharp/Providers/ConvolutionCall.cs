namespace QwixSharp.Providers;

/// <summary>How a convolution of a model moves over its input. One entry a spatial axis.</summary>
/// <param name="Strides">The strides.</param>
/// <param name="Padding">The padding in front and behind.</param>
/// <param name="Dilation">The spacing of the kernel's elements.</param>
/// <param name="Groups">The number of feature groups.</param>
/// <param name="Transposed">Whether it is a transposed convolution.</param>
/// <param name="OutputPadding">What a transposed convolution adds to its output's length.</param>
public sealed record ConvolutionCall(
    IReadOnlyList<long> Strides,
    IReadOnlyList<(long Low, long High)> Padding,
    IReadOnlyList<long> Dilation,
    long Groups,
    bool Transposed,
    IReadOnlyList<long> OutputPadding);
