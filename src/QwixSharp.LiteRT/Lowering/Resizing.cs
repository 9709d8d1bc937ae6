using QwixSharp.LiteRT.FlatBuffers;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Lowering;

/// <summary>Interpolation of images.</summary>
internal static class Resizing
{
    internal static readonly Dictionary<string, LowerOp> Ops = new()
    {
        ["interpolate"] = Interpolate,
        ["upsample"] = Interpolate,
        ["upsample_nearest"] = Interpolate,
        ["upsample_bilinear"] = Interpolate,
        ["upsample_nearest1d"] = Interpolate,
        ["upsample_nearest2d"] = Interpolate,
        ["pixel_shuffle"] = PixelShuffle,
    };

    /// <summary>A linear map along one axis: rows of the matrix are the results.</summary>
    internal static View AlongAxis(GraphBuilder builder, View x, int axis, Tensor matrix)
    {
        int[] axes = [.. Enumerable.Range(0, x.Rank).Where(a => a != axis), axis];
        var product = Products.FullyConnected(builder, builder.Permute(x, axes), GraphBuilder.Constant(matrix), null);
        return builder.Permute(product, Axes.Inverse(axes));
    }

    private static View[] Interpolate(Node node)
    {
        var builder = node.Builder;
        var x = node.Input(0);
        int axes = x.Rank - 2;
        var mode = node.Named("mode")?.ToString() ?? (node.Op.Contains("bilinear", StringComparison.Ordinal) ? "Bilinear" : "Nearest");
        bool corners = node.Bool("align_corners");
        if (axes > 2 || node.Bool("antialias"))
            throw node.Error("LiteRT resizes images of two axes, without antialiasing");
        double[]? factors = node.Named("scale_factor", "scaleFactor", "scale_factors", "scaleFactors") is double[] { Length: > 0 } given && !node.Bool("recompute_scale_factor") ? given : null;
        bool exact = factors is null || Enumerable.Range(0, axes).All(i => x.Shape[i + 2] * factors[Math.Min(i, factors.Length - 1)] == node.Shape[i + 2]);
        if (mode == "Nearest" && exact)
            return [Resize(node, x, axes, BuiltinOp.ResizeNearestNeighbor, ("align_corners", 0), ("half_pixel_centers", 0))];
        if (mode == "Bilinear" && exact)
            return [Resize(node, x, axes, BuiltinOp.ResizeBilinear, ("align_corners", corners ? 1 : 0), ("half_pixel_centers", corners ? 0 : 1))];
        if (mode == "Area")
        {
            for (int i = 0; i < axes; i++)
                x = AlongAxis(builder, x, i + 2, Pools.Averages(x.Shape[i + 2], node.Shape[i + 2]));
            return [x];
        }

        // Interpolation is linear along each axis: what PyTorch makes of unit vectors is its matrix.
        if (mode is not ("Nearest" or "NearestExact" or "Linear" or "Bilinear" or "Bicubic"))
            throw node.Error($"the mode {mode} is not known");
        for (int i = 0; i < axes; i++)
        {
            int size = x.Shape[i + 2];
            double? factor = factors?[Math.Min(i, factors.Length - 1)];
            x = AlongAxis(builder, x, i + 2, Matrix(size, node.Shape[i + 2], mode, corners, factor));
        }

        return [x];
    }

    private static Tensor Matrix(int size, int wanted, string mode, bool corners, double? factor)
    {
        bool cubic = mode == "Bicubic";
        var torchMode = mode switch { "Nearest" => InterpolationMode.Nearest, "NearestExact" => InterpolationMode.NearestExact, "Bicubic" => InterpolationMode.Bicubic, _ => InterpolationMode.Linear };
        var units = cubic ? eye(size).view(1, size, size, 1) : eye(size).view(1, size, size);
        bool? align = mode is "Nearest" or "NearestExact" ? null : corners;
        long[]? sizes = factor is null ? cubic ? [wanted, 1] : [wanted] : null;
        double[]? scales = factor is { } f ? cubic ? [f, 1] : [f] : null;
        return nn.functional.interpolate(units, sizes, scales, torchMode, align).reshape(size, wanted).t();
    }

    private static View Resize(Node node, View x, int axes, BuiltinOp op, params (string, double)[] options)
    {
        var images = Convolutions.ToImages(node.Builder, x, axes);
        int[] wanted = axes == 1 ? [1, node.Shape[^1]] : node.Shape[^2..];
        var result = node.Builder.Emit(op, [images, GraphBuilder.Ints(wanted)], [images.Shape[0], wanted[0], wanted[1], images.Shape[3]], images.Type, options);
        return Convolutions.FromImages(node.Builder, result, node.Shape);
    }

    /// <summary>[…, C·r², H, W] to […, C, H·r, W·r].</summary>
    private static View[] PixelShuffle(Node node)
    {
        var x = node.Input(0);
        int r = (int)node.Long(1, "upscale_factor"), rank = x.Rank;
        int[] lead = x.Shape[..^3];
        int channels = x.Shape[^3] / (r * r), first = lead.Length;
        var split = node.Builder.Reshape(x, [.. lead, channels, r, r, x.Shape[^2], x.Shape[^1]]);
        var moved = node.Builder.Permute(split, [.. Enumerable.Range(0, first + 1), first + 3, first + 1, first + 4, first + 2]);
        return [node.Builder.Reshape(moved, node.Shape)];
    }
}
