using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Odml.Device;

/// <summary>The integers that a fake-quantized tensor has in a LiteRT file, and how its values and they become one another.</summary>
internal static class DeviceCodes
{
    /// <summary>The only output scale of LiteRT's int16 kernels for softmax, sigmoid and tanh.</summary>
    internal const float FixedScale16 = 1f / 32768;

    /// <summary>LiteRT's int16 has no zero points: a range that has one is covered by a symmetric scale.</summary>
    internal static FakeQuantAnnotation Of(FakeQuantAnnotation annotation, bool hasFixedScale16 = false)
    {
        if (annotation.QType != QType.Int16 || annotation.WeightName is not null || annotation.Scale.Count != 1)
            return annotation;
        if (hasFixedScale16)
            return annotation with { Scale = [FixedScale16], ZeroPoint = null };
        return annotation.ZeroPoint is [not 0 and var zeroPoint]
            ? annotation with { Scale = [(float)SymmetricScale16(annotation.Scale[0], zeroPoint)], ZeroPoint = null }
            : annotation;
    }

    /// <summary>The symmetric int16 scale that covers a range with a zero point.</summary>
    internal static double SymmetricScale16(double scale, long zeroPoint) => scale * (32768 + Math.Abs(zeroPoint)) / 32767;

    /// <summary>Codes less the zero point, in double precision, of values that are fake-quantized.</summary>
    internal static Tensor Steps(Tensor values, FakeQuantAnnotation codes) => (values.to(ScalarType.Float64) / (double)codes.Scale[0]).round();

    /// <summary>The values of steps, cut off where there is no code for them.</summary>
    internal static Tensor Values(Tensor steps, FakeQuantAnnotation codes)
    {
        long zeroPoint = ZeroPoint(codes);
        return steps.clamp(codes.QType.Min - zeroPoint, codes.QType.Max - zeroPoint).to(ScalarType.Float32) * codes.Scale[0];
    }

    internal static long ZeroPoint(FakeQuantAnnotation codes) => codes.ZeroPoint is [var point, ..] ? point : 0;

    /// <summary>A weight's codes, in double precision.</summary>
    /// <param name="values">The fake-quantized values.</param>
    /// <param name="scales">Their scales, which broadcast.</param>
    /// <param name="qtype">The type of the codes.</param>
    /// <param name="axis">The axis of the output channels.</param>
    internal static Tensor Weight(Tensor values, Tensor scales, QType qtype, int axis)
    {
        var codes = (values.to(ScalarType.Float64) / scales.to(ScalarType.Float64)).round().clamp(qtype.Min, qtype.Max);
        return qtype == QType.Int8 && codes.dim() > 1 ? WithoutPairs(codes, axis) : codes;
    }

    /// <summary>
    /// int8 weights leave −128 out, since kernels add pairs of products in 16 bits, which two products of −128 by −128 overflow. One in a
    /// channel is safe, and fake-quant makes it of a channel's largest value; where there are more, they become −127.
    /// </summary>
    /// <param name="codes">The codes, of two axes at least.</param>
    /// <param name="axis">The axis of the output channels.</param>
    internal static Tensor WithoutPairs(Tensor codes, int axis)
    {
        var lowest = codes.eq(-128);
        return codes.masked_fill(lowest.logical_and(lowest.sum(OtherAxes(codes, axis), keepdim: true).gt(1)), LastingNumber.Of(-127));
    }

    /// <summary>All axes of a tensor but one.</summary>
    internal static long[] OtherAxes(Tensor tensor, int axis) => [.. Enumerable.Range(0, (int)tensor.dim()).Where(a => a != axis).Select(a => (long)a)];

    /// <summary>
    /// Whether no sum of a product with int16 activations takes more than 32 bits: then convolutions are told to have such, and scale them by a
    /// factor of 31 bits. Those of 64 bits are scaled by one of 15, which moves one result in ten by a code.
    /// </summary>
    /// <param name="magnitudes">The sum of the weight codes' magnitudes, for each channel.</param>
    /// <param name="bias">The bias in steps of the sums, for each channel.</param>
    internal static bool SumsAreNarrow(Tensor magnitudes, Tensor bias) => ((magnitudes * 32768) + bias.abs() + 1).max().item<double>() < int.MaxValue;
}
