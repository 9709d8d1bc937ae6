using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Arrays;

/// <summary>Quantizes arrays. Works on any device, one pass of tensor ops; nothing here knows of models.</summary>
internal static class Quantizer
{
    /// <summary>Quantizes an array with the range that its own values give.</summary>
    /// <param name="array">The array.</param>
    /// <param name="how">How it is quantized.</param>
    /// <param name="threads">How many threads a pass over bfloat16 takes; null takes libtorch's number.</param>
    internal static QArray Quantize(Tensor array, HowToQuantize how, int? threads = null)
    {
        CheckDtype(array);
        if (BFloat16Quantization.TryQuantize(array, how, threads ?? get_num_threads()) is { } fast)
            return fast;
        if (RowQuantization.TryQuantize(array, how) is { } quantized)
            return quantized;
        if (LevelQuantization.TryQuantize(array, how) is { } levels)
            return levels;
        using var scope = NewDisposeScope();
        using var range = Calibrator.Calibrate(array, how);
        var (scale, zeroPoint) = Calibrator.ComputeScaleZeroPoint(range, how.QType, how.ScaleDtype);
        return Quantize(array, how.QType, scale, zeroPoint, how.Noise).MoveToOuterDisposeScope();
    }

    /// <summary>Quantizes an array with a given scale and zero point, which are copied.</summary>
    /// <param name="array">The array.</param>
    /// <param name="qtype">The type of the codes.</param>
    /// <param name="scale">The scale: an axis has the array's length, a number of tiles, or 1.</param>
    /// <param name="zeroPoint">The zero point in the dtype of codes, of the scale's shape; or null.</param>
    /// <param name="noise">Noise for stochastic rounding; or null.</param>
    internal static QArray Quantize(Tensor array, QType qtype, Tensor scale, Tensor? zeroPoint, Func<long[], Tensor>? noise = null)
    {
        CheckDtype(array);
        if (zeroPoint is not null && !zeroPoint.shape.SequenceEqual(scale.shape))
            throw new ArgumentException($"The zero point's shape {HowToQuantize.Format(zeroPoint.shape)} is not the scale's {HowToQuantize.Format(scale.shape)}.");
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        // Dequantizing gives the scale's dtype: it has to be the array's.
        var ownScale = scale.to(array.dtype, copy: true);
        var scaled = GenericBroadcast.Apply((a, b) => a / b, array, ownScale);
        if (zeroPoint is not null)
            scaled = GenericBroadcast.Apply((a, b) => a.add(b, LastingNumber.Of(1)), scaled, zeroPoint.to(scaled.dtype));
        var codes = CodePacking.Pack(Codec.Encode(scaled, qtype, noise?.Invoke(array.shape)), qtype);
        return new QArray(qtype, array.shape, codes, ownScale, zeroPoint?.clone()).MoveToOuterDisposeScope();
    }

    /// <summary>A QArray on the meta device, which has shapes and dtypes but no numbers.</summary>
    /// <param name="array">An array on the meta device.</param>
    /// <param name="how">How it would be quantized.</param>
    internal static QArray Abstract(Tensor array, HowToQuantize how)
    {
        CheckDtype(array);
        var scaleShape = how.ScaleShape(array.shape);
        if (how.Calibration.Kind == CalibrationKind.Fixed)
            Array.Fill(scaleShape, 1);
        if (!how.Calibration.IsSymmetric && !how.QType.SupportsAsymmetric)
            throw Calibrator.NotAsymmetric(how.QType);
        var codeDtype = CodePacking.IsPacked(how.QType) ? ScalarType.Byte : Codec.CodeDtype(how.QType);
        return new QArray(
            how.QType,
            array.shape,
            empty(CodePacking.PackedShape(array.shape, how.QType), codeDtype, META),
            empty(scaleShape, array.dtype, META),
            how.Calibration.IsSymmetric ? null : empty(scaleShape, Codec.CodeDtype(how.QType), META));
    }

    private static void CheckDtype(Tensor array)
    {
        if (!Codec.IsQuantizable(array.dtype))
            throw new ArgumentException($"Cannot quantize an array of {array.dtype}: only float16, bfloat16, float32 and float64 can be.", nameof(array));
    }
}
