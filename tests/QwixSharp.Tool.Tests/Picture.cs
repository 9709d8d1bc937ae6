using SkiaSharp;

namespace QwixSharp.Tool.Tests;

/// <summary>Looks at pictures.</summary>
internal static class Picture
{
    /// <summary>The size of a picture, and how many pixels have each colour, 0xRRGGBB.</summary>
    public static (int Width, int Height, Dictionary<uint, int> Colours) Look(string path)
    {
        using var picture = SKBitmap.Decode(path);
        var colours = picture.Pixels.GroupBy(p => (uint)p & 0xFFFFFF).ToDictionary(g => g.Key, g => g.Count());
        return (picture.Width, picture.Height, colours);
    }
}
