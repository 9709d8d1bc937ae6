using System.Globalization;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Samples.ResNet18;

/// <summary>Handwritten digits, 8×8 pixels of 0 to 16, out of <c>data/digits.csv</c>; see <c>data/README.md</c>.</summary>
/// <param name="Labels">The digit that each image shows.</param>
/// <param name="Pixels">float32, <c>[images, 1, 8, 8]</c>.</param>
public sealed record Digits(IReadOnlyList<int> Labels, Tensor Pixels)
{
    private const int Side = 8;
    private const float Darkest = 16;
    private const int DrawnSide = 160;
    private const int Margin = 32;

    /// <summary>Reads the images of one part of the data.</summary>
    /// <param name="part"><c>fit</c> or <c>test</c>.</param>
    public static Digits Read(string part)
    {
        var rows = File.ReadLines(Path.Combine(AppContext.BaseDirectory, "data", "digits.csv"))
            .Select(line => line.Split(','))
            .Where(cells => cells[0] == part)
            .ToList();
        var labels = rows.Select(cells => int.Parse(cells[1], CultureInfo.InvariantCulture)).ToList();
        var pixels = rows.SelectMany(cells => cells.Skip(2)).Select(cell => float.Parse(cell, CultureInfo.InvariantCulture)).ToArray();
        return new Digits(labels, tensor(pixels, [rows.Count, 1, Side, Side]));
    }

    /// <summary>The images as ResNet-18 takes them: enlarged, dark ink on a white sheet of 224×224, in colour, less the mean image; <paramref name="size"/> a batch.</summary>
    public IEnumerable<Tensor> Batches(Tensor meanImage, int size)
    {
        foreach (var pixels in Pixels.split(size))
        {
            using var part = pixels;
            using var large = functional.interpolate(part, [DrawnSide, DrawnSide], mode: InterpolationMode.Bilinear, align_corners: false);
            using var ink = functional.pad(large, [Margin, Margin, Margin, Margin]);
            using var sheet = 255 - ink * (255 / Darkest);
            using var colour = sheet.expand(-1, 3, -1, -1);
            yield return colour - meanImage;
        }
    }
}
