using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace QwixSharp.Kernels.Convolutions;

/// <summary>Images of up to four channels, such as photographs: their pixels are quantized and brought together in one pass.</summary>
internal static unsafe class FewChannels
{
    /// <summary>The most channels.</summary>
    public const int Most = sizeof(uint);

    /// <summary>The fewest pixels of a row.</summary>
    public const int FewestPixels = 16;

    /// <summary>Added to a float32 of moderate size, this rounds it half to even and leaves it + 128 in the lowest byte.</summary>
    private const float Rounding = 12582912f + 128f;

    /// <summary>Quantizes a row.</summary>
    /// <param name="x">The row in the first channel.</param>
    /// <param name="step">From one channel to the next.</param>
    /// <param name="channels">1 … <see cref="Most"/>.</param>
    /// <param name="count">The pixels; at least <see cref="FewestPixels"/>.</param>
    /// <param name="input">How values become codes.</param>
    /// <param name="target">[count, channels] codes + 128, the result.</param>
    /// <param name="mask">What codes + 128 are combined with by an exclusive or.</param>
    /// <returns>Whether all values were finite.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static bool Quantize(float* x, nint step, int channels, int count, in ConvolutionInput input, byte* target, byte mask)
    {
        var scale = Vector512.Create(input.Scale);
        var zeroPoint = Vector512.Create((float)input.ZeroPoint);
        var lowest = Vector512.Create((float)input.Range.Lowest);
        var highest = Vector512.Create((float)input.Range.Highest);
        var rounding = Vector512.Create(Rounding);
        var lowByte = Vector512.Create(0xFFu);
        var masks = Vector512.Create(mask * 0x01010101u);
        var finite = Vector512<float>.Zero;
        for (var first = 0; first < count; first += FewestPixels)
        {
            // The last block overlaps the one before.
            var pixel = Math.Min(first, count - FewestPixels);
            var words = Vector512<uint>.Zero;
            for (var channel = channels - 1; channel >= 0; channel--)
            {
                var v = Vector512.Load(x + channel * step + pixel);
                // 0 · v is not 0 for infinity and NaN.
                finite = Vector512.FusedMultiplyAdd(v, Vector512<float>.Zero, finite);
                v = Vector512.MaxNative(Vector512.MinNative(v / scale + zeroPoint, highest), lowest);
                words = (words << 8) | ((v + rounding).AsUInt32() & lowByte);
            }
            Store(words ^ masks, channels, target + (nint)pixel * channels);
        }
        return Vector512.EqualsAll(finite, Vector512<float>.Zero);
    }

    /// <summary>Stores the lowest bytes of 16 words side by side.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(Vector512<uint> words, int channels, byte* target)
    {
        if (channels == Most)
        {
            words.AsByte().Store(target);
            return;
        }
        var order = channels switch
        {
            3 => Vector128.Create((byte)0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 255, 255, 255, 255),
            2 => Vector128.Create((byte)0, 1, 4, 5, 8, 9, 12, 13, 255, 255, 255, 255, 255, 255, 255, 255),
            _ => Vector128.Create((byte)0, 4, 8, 12, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255),
        };
        StoreFour(words.GetLower().GetLower(), order, channels, target);
        StoreFour(words.GetLower().GetUpper(), order, channels, target + 4 * channels);
        StoreFour(words.GetUpper().GetLower(), order, channels, target + 8 * channels);
        StoreFour(words.GetUpper().GetUpper(), order, channels, target + 12 * channels);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreFour(Vector128<uint> words, Vector128<byte> order, int channels, byte* target)
    {
        var bytes = Vector128.ShuffleNative(words.AsByte(), order);
        if (channels == 1)
        {
            Unsafe.WriteUnaligned(target, bytes.AsUInt32().ToScalar());
            return;
        }
        Unsafe.WriteUnaligned(target, bytes.AsUInt64().ToScalar());
        if (channels == 3)
            Unsafe.WriteUnaligned(target + sizeof(ulong), bytes.AsUInt32().GetElement(2));
    }
}
