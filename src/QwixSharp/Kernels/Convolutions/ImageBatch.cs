using QwixSharp.Kernels.Threading;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>A batch of images of codes to convolve. Few are convolved one after the other by all threads, many one a thread.</summary>
internal sealed unsafe class ImageBatch : KernelJob
{
    private int _next;

    /// <summary>[batch, channels, height, width] codes, or [batch, height, width, channels] if <see cref="IsChannelsLast"/>.</summary>
    public required nint Codes { get; init; }

    /// <summary>Whether images have their channels last.</summary>
    public required bool IsChannelsLast { get; init; }

    /// <summary>How many images.</summary>
    public required long Count { get; init; }

    /// <summary>The channels of an image.</summary>
    public required int Channels { get; init; }

    /// <summary>The height of an image.</summary>
    public required int Height { get; init; }

    /// <summary>The width of an image.</summary>
    public required int Width { get; init; }

    /// <summary>[batch] float32.</summary>
    public required nint Scales { get; init; }

    /// <summary>[batch] int32, or null for 0.</summary>
    public required nint ZeroPoints { get; init; }

    /// <summary>The packed kernel.</summary>
    public required ConvolutionKernel Kernel { get; init; }

    /// <summary>[batch, <see cref="ResultSize"/>] float32, the result.</summary>
    public required nint Result { get; init; }

    /// <summary>The elements of the result of an image.</summary>
    public required long ResultSize { get; init; }

    private long ImageSize => (long)Channels * Height * Width;

    /// <summary>Convolves all images.</summary>
    /// <param name="threads">How many threads take part.</param>
    public void Run(long threads)
    {
        if (Count >= 2 * threads)
        {
            KernelPool.Shared.Run(this, (int)threads);
            return;
        }
        for (var image = 0L; image < Count; image++)
            Convolve(image, (int)threads);
    }

    /// <inheritdoc/>
    public override void Run(int worker)
    {
        for (var image = Interlocked.Increment(ref _next) - 1; image < Count; image = Interlocked.Increment(ref _next) - 1)
            Convolve(image, threads: 1);
    }

    private void Convolve(long image, int threads)
    {
        var codes = (nint)((sbyte*)Codes + image * ImageSize);
        var zeroPoint = ZeroPoints == 0 ? 0 : ((int*)ZeroPoints)[image];
        Kernel.Run(
            new ConvolutionInput(codes, IsChannelsLast ? ImageForm.Codes : ImageForm.CodesChannelsFirst, Height, Width, ((float*)Scales)[image], zeroPoint),
            new ConvolutionOutput { Floats = (nint)((float*)Result + image * ResultSize) },
            threads);
    }
}
