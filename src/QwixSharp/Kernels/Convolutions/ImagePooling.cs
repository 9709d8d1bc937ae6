using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using QwixSharp.Kernels.Passes;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>Pools images of finite float32 values with their channels last.</summary>
internal static unsafe class ImagePooling
{
    private const int Block = 16;

    /// <summary>The largest value of each window; padding takes no part.</summary>
    /// <param name="image">[height, width, channels].</param>
    /// <param name="shape">The sizes; as many output channels as channels.</param>
    /// <param name="y">[out height, out width, channels], the result.</param>
    /// <param name="threads">How many threads take part.</param>
    public static void Max(float* image, ConvolutionShape shape, float* y, int threads)
    {
        shape.Check();
        int outHeight = shape.OutHeight, outWidth = shape.OutWidth;
        RowsJob.Run(outHeight, (long)outWidth * shape.Channels * shape.KernelHeight * shape.KernelWidth, threads, row => MaxOfRow(image, shape, (int)row, y + row * outWidth * shape.Channels));
    }

    /// <summary>One row of the result.</summary>
    /// <param name="image">[height, width, channels].</param>
    /// <param name="shape">The sizes; as many output channels as channels.</param>
    /// <param name="row">The row.</param>
    /// <param name="target">[out width, channels], the result.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void MaxOfRow(float* image, in ConvolutionShape shape, int row, float* target)
    {
        int outWidth = shape.OutWidth, top = row * shape.StrideY - shape.PadTop;
        for (var column = 0; column < outWidth; column++, target += shape.Channels)
            MaxOfWindow(image, shape, top, column * shape.StrideX - shape.PadLeft, target);
    }

    /// <summary>The mean of each channel.</summary>
    /// <param name="image">[height, width, channels].</param>
    /// <param name="height">The image's height.</param>
    /// <param name="width">The image's width.</param>
    /// <param name="channels">The channels.</param>
    /// <param name="y">[channels], the result.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Mean(float* image, int height, int width, int channels, float* y)
    {
        var pixels = (float)((long)height * width);
        var step = Math.Min(Block, channels);
        for (var first = 0; first < channels; first += step)
        {
            // The last block overlaps the one before.
            var channel = Math.Min(first, channels - step);
            if (step < Block)
                MeanOfFew(image, height, width, channels, y);
            else
                MeanOfBlock(image + channel, height, width, channels, pixels).Store(y + channel);
        }
    }

    /// <summary>Rows are summed up one by one, so that a large image loses no precision.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static Vector512<float> MeanOfBlock(float* image, int height, int width, int channels, float pixels)
    {
        var sum = Vector512<float>.Zero;
        for (var row = 0; row < height; row++)
        {
            var part = Vector512<float>.Zero;
            for (var column = 0; column < width; column++, image += channels)
                part += Vector512.Load(image);
            sum += part;
        }
        return sum / Vector512.Create(pixels);
    }

    private static void MeanOfFew(float* image, int height, int width, int channels, float* y)
    {
        for (var channel = 0; channel < channels; channel++)
        {
            var sum = 0.0;
            for (var pixel = 0L; pixel < (long)height * width; pixel++)
                sum += image[pixel * channels + channel];
            y[channel] = (float)(sum / ((long)height * width));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void MaxOfWindow(float* image, in ConvolutionShape shape, int top, int left, float* target)
    {
        int channels = shape.Channels, width = shape.Width;
        int firstRow = Math.Max(0, top), lastRow = Math.Min(shape.Height, top + shape.KernelHeight);
        int firstColumn = Math.Max(0, left), lastColumn = Math.Min(width, left + shape.KernelWidth);
        var channel = 0;
        if (lastRow == firstRow + 1 && lastColumn == firstColumn + 3)
        {
            // The usual pool, row by row.
            var from = image + ((long)firstRow * width + firstColumn) * channels;
            for (; channel + Block <= channels; channel += Block, from += Block)
                Vector512.MaxNative(Vector512.MaxNative(Vector512.Load(from), Vector512.Load(from + channels)), Vector512.Load(from + 2 * channels)).Store(target + channel);
        }
        for (; channel + Block <= channels; channel += Block)
        {
            var most = Vector512.Create(float.NegativeInfinity);
            for (var row = firstRow; row < lastRow; row++)
            {
                var from = image + ((long)row * width + firstColumn) * channels + channel;
                for (var column = firstColumn; column < lastColumn; column++, from += channels)
                    most = Vector512.MaxNative(most, Vector512.Load(from));
            }
            most.Store(target + channel);
        }
        for (; channel < channels; channel++)
        {
            var most = float.NegativeInfinity;
            for (var row = firstRow; row < lastRow; row++)
                for (var column = firstColumn; column < lastColumn; column++)
                    most = Math.Max(most, image[((long)row * width + column) * channels + channel]);
            target[channel] = most;
        }
    }
}
