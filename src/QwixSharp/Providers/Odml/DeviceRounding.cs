using QwixSharp.Arrays;
using QwixSharp.Numerics;
using QwixSharp.Providers.Odml.Device;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Odml;

/// <summary>Numbers as LiteRT's kernels round them to codes.</summary>
internal static class DeviceRounding
{
    /// <summary>How far sums in float32 stray from a tie, of the largest code.</summary>
    private const double TieWidth = 3e-7;

    /// <summary>
    /// Numbers with a zero point: kernels round the number of steps, and then add the zero point. That matters at ties, of which
    /// there are many where one scale is a simple multiple of another.
    /// </summary>
    internal static Tensor FakeQuantize(Tensor values, QType qtype, Tensor scale, Tensor? zeroPoint)
    {
        if (zeroPoint is null)
            return Quantizer.Quantize(values, qtype, scale, zeroPoint: null).Dequantize();
        using var scope = NewDisposeScope();
        zeroPoint = zeroPoint.to(ScalarType.Float32);
        var steps = (values.to(ScalarType.Float32) / scale).round();
        return (steps.clamp(qtype.Min - zeroPoint, qtype.Max - zeroPoint) * scale).to(values.dtype).MoveToOuterDisposeScope();
    }

    /// <summary>
    /// Numbers as QUANTIZE rounds them: XNNPACK multiplies by the scale's reciprocal for int8 and takes ties to even, LiteRT's own kernel divides for
    /// int16, in double precision, and takes them away from zero.
    /// </summary>
    internal static Tensor FakeQuantize(Tensor values, FakeQuantAnnotation codes)
    {
        using var scope = NewDisposeScope();
        var exact = values.to(ScalarType.Float32);
        var steps = codes.QType == QType.Int16
            ? FixedPoint.RoundAway(exact.to(ScalarType.Float64) / (double)codes.Scale[0])
            : (exact * (1 / codes.Scale[0])).round();
        return DeviceCodes.Values(steps, codes).to(values.dtype).MoveToOuterDisposeScope();
    }

    /// <summary>Averages of codes are codes again, rounded away from code zero at ties.</summary>
    internal static Tensor Averages(Tensor values, FakeQuantAnnotation codes)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        double scale = codes.Scale[0], zeroPoint = DeviceCodes.ZeroPoint(codes);
        var average = (values.to(ScalarType.Float32) / scale) + zeroPoint;
        var rounded = average.sign() * (average.abs() + (0.5 + (TieWidth * codes.QType.Max))).floor();
        return ((rounded.clamp(codes.QType.Min, codes.QType.Max) - zeroPoint) * scale).to(values.dtype).MoveToOuterDisposeScope();
    }
}
