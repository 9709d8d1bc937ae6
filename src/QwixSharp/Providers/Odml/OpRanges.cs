namespace QwixSharp.Providers.Odml;

/// <summary>
/// The output ranges that LiteRT's kernels have built in. In int8 they give the scales and zero points of its quantization
/// specification, such as 1/256 and −128 for softmax.
/// </summary>
internal static class OpRanges
{
    /// <summary>Softmax and sigmoid: scale 1/256, zero point −128.</summary>
    internal static readonly (double Min, double Max) Sigmoid = (0, 255.0 / 256);

    /// <summary>Tanh: scale 1/128, zero point 0.</summary>
    internal static readonly (double Min, double Max) Tanh = (-1, 127.0 / 128);

    /// <summary>Log-softmax: scale 1/16, zero point 127.</summary>
    internal static readonly (double Min, double Max) LogSoftmax = (-255.0 / 16, 0);
}
