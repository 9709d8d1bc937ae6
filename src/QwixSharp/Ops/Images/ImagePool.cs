using QwixSharp.Kernels.Convolutions;

namespace QwixSharp.Ops.Images;

/// <summary>A max pool.</summary>
/// <param name="size">The height and width of its windows.</param>
/// <param name="strides">How far windows are apart.</param>
/// <param name="padding">In front and behind; it takes no part.</param>
internal sealed class ImagePool(long[] size, long[] strides, long[] padding)
{
    /// <summary>The windows.</summary>
    internal PoolWindow Window { get; } = new((int)size[0], (int)size[1], (int)strides[0], (int)strides[1], (int)padding[0], (int)padding[1]);
}
