using QwixSharp.Arrays;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp;

/// <summary>The front door: every entry point of the library.</summary>
public static partial class Qwix
{
    /// <summary>Quantizes an array with the range of its own values.</summary>
    /// <param name="array">A float16, bfloat16, float32 or float64 tensor of any shape.</param>
    /// <param name="qtype">The type of the codes; a name such as <c>"int4"</c> converts.</param>
    /// <param name="channelwiseAxes">The axes along which every index has a scale of its own; none gives one scale.</param>
    /// <param name="tiledAxes">The axes that are cut into tiles with a scale each.</param>
    /// <param name="calibration">How the range is found, such as <c>"absmax,0.8"</c>; <c>absmax</c> unless told.</param>
    /// <param name="scaleDtype">The dtype of the scales, and so of the array when dequantized; the array's unless told.</param>
    /// <returns>A QArray that the caller owns.</returns>
    /// <exception cref="ArgumentException">The array's dtype cannot be quantized, a tile does not divide its axis, or the type cannot be asymmetric.</exception>
    public static QArray Quantize(
        Tensor array,
        QType qtype,
        IReadOnlyList<int>? channelwiseAxes = null,
        IReadOnlyDictionary<int, TileSize>? tiledAxes = null,
        CalibrationMethod? calibration = null,
        ScalarType? scaleDtype = null)
    {
        ArgumentNullException.ThrowIfNull(array);
        var how = new HowToQuantize
        {
            QType = qtype,
            ChannelwiseAxes = channelwiseAxes ?? [],
            TiledAxes = tiledAxes ?? new Dictionary<int, TileSize>(),
            Calibration = calibration ?? CalibrationMethod.AbsMax(),
        };
        var quantized = Quantizer.Quantize(array, how);
        if (scaleDtype is not { } dtype || dtype == quantized.Dtype)
            return quantized;
        using (quantized)
            return quantized.To(dtype);
    }

    /// <summary>The numbers that a quantized array stands for.</summary>
    /// <param name="array">The array.</param>
    /// <returns>A tensor of its shape and dtype that the caller owns.</returns>
    public static Tensor Dequantize(QArray array)
    {
        ArgumentNullException.ThrowIfNull(array);
        return array.Dequantize();
    }
}
