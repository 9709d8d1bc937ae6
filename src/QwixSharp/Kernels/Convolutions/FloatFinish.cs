using QwixSharp.Kernels.Passes;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>What <see cref="SumsEpilogue"/> does for sums, for values that are scaled already: the way of kernels whose products end in float32.</summary>
internal static unsafe class FloatFinish
{
    /// <summary>Pixels at once.</summary>
    private const int Block = 16;

    /// <summary>Whether a product can do by itself all that the output says.</summary>
    /// <param name="output">The output.</param>
    public static bool IsPlain(in ConvolutionOutput output) => output is { Codes: 0, Factor: 0, Addend: 0 };

    /// <summary>Finishes an image.</summary>
    /// <param name="values">[pixels, channels] float32.</param>
    /// <param name="pixels">How many pixels.</param>
    /// <param name="channels">How many channels.</param>
    /// <param name="output">The result; codes have their channels last.</param>
    /// <param name="threads">How many threads take part.</param>
    /// <returns>Whether all values were finite.</returns>
    public static bool Run(float* values, int pixels, int channels, in ConvolutionOutput output, int threads)
    {
        var epilogue = new SumsEpilogue(output, 1, channels, pixels);
        var isFinite = true;
        RowsJob.Run((pixels + Block - 1) / Block, (long)Block * channels, threads, block =>
        {
            var first = (int)block * Block;
            for (var channel = 0; channel < channels; channel += Block)
                if (!epilogue.Finish(values + (long)first * channels + channel, channels, Math.Min(Block, pixels - first), null, first, channel, Math.Min(Block, channels - channel)))
                    Volatile.Write(ref isFinite, false);
        });
        return isFinite;
    }
}
