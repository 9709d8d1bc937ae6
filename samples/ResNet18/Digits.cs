using QwixSharp.Samples.Common;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Samples.ResNet18;

/// <summary>Handwritten digits as ResNet-18 takes images.</summary>
internal static class Digits
{
    private const int DrawnSide = 160;
    private const int Margin = 32;

    /// <summary>The images enlarged, dark ink on a white sheet of 224×224, in colour, less the mean image; <paramref name="size"/> a batch.</summary>
    public static IEnumerable<Tensor> Batches(HandwrittenDigits digits, Tensor meanImage, int size)
    {
        foreach (var pixels in digits.Pixels.split(size))
        {
            using var part = pixels;
            using var large = functional.interpolate(part, [DrawnSide, DrawnSide], mode: InterpolationMode.Bilinear, align_corners: false);
            using var ink = functional.pad(large, [Margin, Margin, Margin, Margin]);
            using var sheet = 255 - ink * (255 / HandwrittenDigits.Ink);
            using var colour = sheet.expand(-1, 3, -1, -1);
            yield return colour - meanImage;
        }
    }
}
