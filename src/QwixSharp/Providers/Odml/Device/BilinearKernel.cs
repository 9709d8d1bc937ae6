using QwixSharp.Interception;
using QwixSharp.Numerics;
using QwixSharp.Providers.OpMap;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Odml.Device;

/// <summary>
/// RESIZE_BILINEAR. XNNPACK's for int8 weighs neighbours in 11 bits and takes ties upwards. For int16 there is one in floating point between
/// conversions, whose last bits decide at 65,536 codes, so that its steps are taken one by one.
/// </summary>
internal static class BilinearKernel
{
    private const int Bits = 11;

    /// <summary>Whether an op is one that the exporter writes as RESIZE_BILINEAR.</summary>
    internal static bool Is(in OpCall call, Tensor source, Tensor result, string name)
    {
        bool isBilinear = name == "upsample_bilinear" || call.Arguments.OfType<InterpolationMode>().Any(mode => mode == InterpolationMode.Bilinear);
        double[]? factors = Arguments.Named(call, "scale_factor", "scaleFactor", "scale_factors", "scaleFactors") is double[] { Length: > 0 } given && Arguments.Named(call, "recompute_scale_factor") is not true ? given : null;
        return isBilinear && source.dim() == 4 && (factors is null || Enumerable.Range(2, 2).All(axis => source.shape[axis] * factors[Math.Min(axis - 2, factors.Length - 1)] == result.shape[axis]));
    }

    /// <summary>Images of the size of others, with the codes that they have.</summary>
    internal static Tensor Compute(in OpCall call, Tensor source, Tensor result, FakeQuantAnnotation codes)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        bool corners = Arguments.Named(call, "align_corners") is true;
        var (left, right, x) = Places((int)source.shape[3], (int)result.shape[3], corners);
        var (top, bottom, y) = Places((int)source.shape[2], (int)result.shape[2], corners);
        Tensor Pick(Tensor image, long[] rows, long[] columns) => image.index_select(2, tensor(rows)).index_select(3, tensor(columns));
        if (codes.QType == QType.Int16)
        {
            var (across, down) = (tensor(x), tensor(y).unsqueeze(1));
            var values = source.to(ScalarType.Float32);
            Tensor Line(long[] rows) => Pick(values, rows, left) + ((Pick(values, rows, right) - Pick(values, rows, left)) * across);
            var (above, below) = (Line(top), Line(bottom));
            return DeviceRounding.FakeQuantize(above + ((below - above) * down), codes).to(source.dtype).MoveToOuterDisposeScope();
        }

        Tensor Weights(float[] alphas) => tensor(Array.ConvertAll(alphas, a => (long)MathF.Round(a * (1 << Bits))));
        var (wx, wy) = (Weights(x), Weights(y).unsqueeze(1));
        var steps = DeviceCodes.Steps(source, codes).to(ScalarType.Int64);
        Tensor Sum(long[] rows) => (Pick(steps, rows, left) * (1L << Bits)) + ((Pick(steps, rows, right) - Pick(steps, rows, left)) * wx);
        var (upper, lower) = (Sum(top), Sum(bottom));
        var rounded = FixedPoint.ShiftRight((upper * (1L << Bits)) + ((lower - upper) * wy) + (1L << ((2 * Bits) - 1)), 2 * Bits);
        return DeviceCodes.Values(rounded, codes).to(source.dtype).MoveToOuterDisposeScope();
    }

    /// <summary>For each place of the result the two of the source around it, and how far it is from the first, in single precision as XNNPACK has it.</summary>
    private static (long[] First, long[] Second, float[] Alpha) Places(int size, int wanted, bool corners)
    {
        int less = corners && wanted != 1 ? 1 : 0;
        float scale = (float)(size - less) / (wanted - less), offset = corners ? 0 : (0.5f * scale) - 0.5f;
        float[] places = [.. Enumerable.Range(0, wanted).Select(i => Math.Clamp((i * scale) + offset, 0, size - 1))];
        long[] first = Array.ConvertAll(places, p => (long)p);
        return (first, Array.ConvertAll(first, f => Math.Min(f + 1, size - 1)), [.. places.Select((p, i) => p - first[i])]);
    }
}
