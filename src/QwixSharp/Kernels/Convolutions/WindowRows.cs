using QwixSharp.Kernels.Passes;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>Writes the windows of images of codes as the rows of a matrix, for products that contract over pixels.</summary>
internal static unsafe class WindowRows
{
    /// <summary>Writes the windows of a batch; what lies outside an image is 0.</summary>
    /// <param name="images">[count, height, width, channels] codes.</param>
    /// <param name="count">How many images.</param>
    /// <param name="shape">The sizes; one group.</param>
    /// <param name="rows">[count, out height · out width, kernel height · kernel width · channels], the result.</param>
    /// <param name="threads">How many threads take part.</param>
    /// <exception cref="ArgumentException">The kernel does not fit the image.</exception>
    public static void Gather(sbyte* images, long count, ConvolutionShape shape, sbyte* rows, int threads)
    {
        shape.Check();
        int pixels = checked(shape.OutHeight * shape.OutWidth);
        long imageSize = (long)shape.Height * shape.Width * shape.Channels, rowsSize = (long)pixels * shape.WindowSize;
        RowsJob.Run(count, rowsSize, threads, image =>
        {
            var windows = new ImageWindows(images + image * imageSize, 0, 0, shape);
            var row = rows + image * rowsSize;
            for (var pixel = 0; pixel < pixels; pixel++, row += shape.WindowSize)
                windows.Gather(pixel, row);
        });
    }
}
