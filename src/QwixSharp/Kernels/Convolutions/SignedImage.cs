using QwixSharp.Kernels.Threading;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>Signed codes of an image with its channels last, for kernels that do not read a <see cref="PaddedImage"/>.</summary>
internal sealed unsafe class SignedImage : KernelJob
{
    /// <summary>Below this many codes a second thread costs more than it gives.</summary>
    private const long SmallestShared = 32 << 10;

    [ThreadStatic]
    private static SignedImage? _cached;

    private readonly Workspace _workspace = new();
    private PaddedImage _image;
    private int _next;
    private volatile bool _isFinite;

    /// <summary>The codes, which stay until the calling thread asks for another image.</summary>
    /// <param name="input">The image.</param>
    /// <param name="channels">Its channels.</param>
    /// <param name="threads">How many threads take part.</param>
    /// <param name="isFinite">Whether all floating-point values that became codes were finite.</param>
    public static sbyte* Of(in ConvolutionInput input, int channels, int threads, out bool isFinite)
    {
        isFinite = true;
        if (input is { Form: ImageForm.Codes, Margin: 0 })
            return (sbyte*)input.Values;
        var shape = new ConvolutionShape { Height = input.Height, Width = input.Width, Channels = channels, OutChannels = channels, KernelHeight = 1, KernelWidth = 1 };
        var bytes = PaddedImage.Bytes(shape);
        var job = _cached ??= new SignedImage();
        job._workspace.Trim();
        job._image = new PaddedImage(input, shape, job._workspace.Reserve(bytes), isUnsigned: false);
        job._isFinite = true;
        job._next = 0;
        KernelPool.Shared.Run(job, bytes < SmallestShared ? 1 : threads);
        isFinite = job._isFinite;
        return (sbyte*)job._image.Start;
    }

    /// <inheritdoc/>
    public override void Run(int worker)
    {
        for (var unit = Interlocked.Increment(ref _next) - 1; unit < _image.Units; unit = Interlocked.Increment(ref _next) - 1)
            if (!_image.Fill(unit))
                _isFinite = false;
    }
}
