using QwixSharp.Kernels.Passes;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>What <see cref="SumsEpilogue"/> does for sums, for values that are scaled already: the way of kernels whose products end in float32.</summary>
internal static unsafe class FloatFinish
{
    /// <summary>Pixels at once.</summary>
    private const int Block = 16;

    /// <summary>Whether a product can do by itself all that the output says.</summary>
    /// <param name="output">The output.</param>
    public static bool IsPlain(in ConvolutionOutput output) => output is { Codes: 0, Factor: 0, Addend: 0 } && (output.Activation.Kind == ImageActivationKind.None || output.Activation == ImageActivation.Relu);

    /// <summary>Finishes an image.</summary>
    /// <param name="values">[height, width, channels] float32.</param>
    /// <param name="height">The image's height.</param>
    /// <param name="width">The image's width.</param>
    /// <param name="channels">How many channels.</param>
    /// <param name="output">The result; codes have their channels last.</param>
    /// <param name="threads">How many threads take part.</param>
    /// <returns>Whether all values were finite.</returns>
    public static bool Run(float* values, int height, int width, int channels, in ConvolutionOutput output, int threads)
    {
        var epilogue = new SumsEpilogue(output, 1, channels, height, width);
        // Only margins keep rows apart.
        if (output.CodesMargin == 0)
            (height, width) = (1, checked(height * width));
        var blocks = (width + Block - 1) / Block;
        var isFinite = true;
        RowsJob.Run((long)height * blocks, (long)Block * channels, threads, block =>
        {
            var (row, column) = Math.DivRem((int)block, blocks);
            var (first, count) = (row * width + column * Block, Math.Min(Block, width - column * Block));
            for (var channel = 0; channel < channels; channel += Block)
                if (!epilogue.Finish(values + (long)first * channels + channel, channels, WindowBlocks.One(count), null, first, channel, Math.Min(Block, channels - channel)))
                    Volatile.Write(ref isFinite, false);
        });
        return isFinite;
    }
}
