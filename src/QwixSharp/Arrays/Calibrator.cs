using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Arrays;

/// <summary>
/// The range of an array: <see cref="AbsMax"/> alone, or <see cref="Min"/> and <see cref="Max"/>. Each tensor has the
/// shape of the scales and the dtype of the array. Owns its tensors.
/// </summary>
internal sealed class CalibrationRange : IDisposable
{
    private CalibrationRange(Tensor? absMax, Tensor? min, Tensor? max) => (AbsMax, Min, Max) = (absMax, min, max);

    internal Tensor? AbsMax { get; }

    internal Tensor? Min { get; }

    internal Tensor? Max { get; }

    internal static CalibrationRange Symmetric(Tensor absMax) => new(absMax, null, null);

    internal static CalibrationRange Asymmetric(Tensor min, Tensor max) => new(null, min, max);

    /// <summary>The tensors under the names that statistics use.</summary>
    internal IEnumerable<(string Name, Tensor Value)> Named => AbsMax is not null
        ? [("absmax", AbsMax)]
        : [("min", Min!), ("max", Max!)];

    /// <summary>The shape of its tensors.</summary>
    internal long[] ScaleShape => (AbsMax ?? Min!).shape;

    /// <summary>The least and the largest value inside. The tensors may be the range's own.</summary>
    internal (Tensor Low, Tensor High) Bounds() => AbsMax is not null ? (-AbsMax, AbsMax) : (Min!, Max!);

    /// <summary>A range with each tensor replaced; the result is the caller's, this one too.</summary>
    internal CalibrationRange Select(Func<Tensor, Tensor> f) =>
        AbsMax is not null ? Symmetric(f(AbsMax)) : Asymmetric(f(Min!), f(Max!));

    internal CalibrationRange MoveToOuterDisposeScope() => Select(t => t.MoveToOuterDisposeScope());

    public void Dispose()
    {
        AbsMax?.Dispose();
        Min?.Dispose();
        Max?.Dispose();
    }
}

/// <summary>Finds the range of an array, and from it the scale and the zero point.</summary>
/// <remarks>
/// Every step is taken in the array's own dtype with IEEE division, as the reference does, so that codes and scales
/// agree bit for bit.
/// </remarks>
internal static class Calibrator
{
    /// <summary>The range of an array, for each of its scales.</summary>
    internal static CalibrationRange Calibrate(Tensor array, HowToQuantize how)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var scaleShape = how.ScaleShape(array.shape);
        var method = how.Calibration;
        if (method.Kind == CalibrationKind.Fixed)
            return FixedRange(array, method).MoveToOuterDisposeScope();

        if (array.NumberOfElements == 0)
        {
            // Of no values there is no largest: a range of zeros becomes a scale of 1.
            Tensor Zeros() => zeros(scaleShape, array.dtype, array.device).MoveToOuterDisposeScope();
            return method.IsSymmetric ? CalibrationRange.Symmetric(Zeros()) : CalibrationRange.Asymmetric(Zeros(), Zeros());
        }

        var tiles = how.ResolveTiles(array.shape);
        var split = GenericBroadcast.SplitAxes(array, tiles);
        long[] axes = ReducedAxes(how, array.shape.Length, tiles);
        var range = method.Kind switch
        {
            CalibrationKind.AbsMax => CalibrationRange.Symmetric(Reduced(split.abs(), axes, largest: true)),
            CalibrationKind.Rms => CalibrationRange.Symmetric(axes.Length == 0 ? split.abs() : split.square().mean(axes, keepdim: true).sqrt()),
            _ => CalibrationRange.Asymmetric(Reduced(split, axes, largest: false).clamp(max: LastingNumber.Of(0)), Reduced(split, axes, largest: true).clamp(min: LastingNumber.Of(0))),
        };
        if (method.Factor is { } factor)
            range = range.Select(t => t * Like(factor, t));
        return range.Select(t => t.reshape(scaleShape)).MoveToOuterDisposeScope();
    }

    /// <summary>The scale and, for an asymmetric range, the zero point (in the dtype of codes before packing).</summary>
    /// <param name="range">The range.</param>
    /// <param name="qtype">The type of the codes.</param>
    /// <param name="scaleDtype">See <see cref="HowToQuantize.ScaleDtype"/>.</param>
    /// <exception cref="ArgumentException">The range is asymmetric and the type cannot have a zero point; or a scale is too large for its dtype.</exception>
    internal static (Tensor Scale, Tensor? ZeroPoint) ComputeScaleZeroPoint(CalibrationRange range, QType qtype, ScalarType? scaleDtype = null)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        if (range.AbsMax is { } absMax)
        {
            var scale = Usable(absMax / Like(qtype.SymmetricBound, absMax));
            return (ScaleRounding.Round(MicroScale(scale, qtype), scaleDtype).reshape(absMax.shape).MoveToOuterDisposeScope(), null);
        }

        if (!qtype.SupportsAsymmetric)
            throw NotAsymmetric(qtype);
        Tensor min = range.Min!, max = range.Max!;
        var asymmetricScale = ScaleRounding.Round(Usable((max - min) / Like((double)qtype.Max - qtype.Min, min)), scaleDtype);
        var zeroPoint = Codec.Encode(Like(qtype.Min, min) - (min / asymmetricScale), qtype);
        return (asymmetricScale.reshape(min.shape).MoveToOuterDisposeScope(), zeroPoint.reshape(min.shape).MoveToOuterDisposeScope());
    }

    internal static ArgumentException NotAsymmetric(QType qtype) =>
        new($"{qtype} cannot be asymmetric: only int4, int8 and int16 can have a zero point. Use a symmetric calibration (absmax, rms, or a fixed range around 0).");

    private static CalibrationRange FixedRange(Tensor array, CalibrationMethod method)
    {
        long[] ones = [.. array.shape.Select(_ => 1L)];
        Tensor Full(double value) => full(ones, value, dtype: array.dtype, device: array.device);
        return method.IsSymmetric ? CalibrationRange.Symmetric(Full(method.Max)) : CalibrationRange.Asymmetric(Full(method.Min), Full(method.Max));
    }

    private static long[] ReducedAxes(HowToQuantize how, int rank, SortedDictionary<int, long> tiles)
    {
        List<long> axes = [];
        int offset = 0;
        for (int axis = 0; axis < rank; axis++)
        {
            if (how.ChannelwiseAxes.Contains(axis))
                continue;
            if (tiles.ContainsKey(axis))
                offset++; // (tiles, size): only the size is reduced.
            axes.Add(axis + offset);
        }

        return [.. axes];
    }

    private static Tensor Reduced(Tensor x, long[] axes, bool largest) =>
        axes.Length == 0 ? x : largest ? x.amax(axes, keepdim: true) : x.amin(axes, keepdim: true);

    /// <summary>
    /// A scale below the square root of the smallest normal number becomes 1, and an infinite one NaN: codes do not have the signs of infinities.
    /// </summary>
    /// <remarks>
    /// Of two larger scales the product is a normal number. In float16 that root is 2⁻⁷, which scales of most weights are below, as are those
    /// of activations below 1: their codes would all be 0. Products of float16 scales are taken in float32, so that only 0 becomes 1.
    /// </remarks>
    private static Tensor Usable(Tensor scale)
    {
        double smallest = scale.dtype switch
        {
            ScalarType.Float16 => double.Pow(2, -24),
            ScalarType.Float64 => double.Pow(2, -511),
            _ => double.Pow(2, -63),
        };
        return where(scale.lt(Like(smallest, scale)), ones_like(scale), scale + (scale - scale));
    }

    /// <summary>
    /// The scales of micro-scaled types: a power of two, from the scale times 60/31 (mxfp8) or 12/7 (mxfp4), which
    /// weighs clipping against subnormal error (arXiv 2603.08713); or a number of <c>float8_e4m3fn</c> (nvfp4).
    /// </summary>
    private static Tensor MicroScale(Tensor scale, QType qtype)
    {
        if (!qtype.IsMicroScaled)
            return scale;
        // A scale that is not a number must not become one: what it scales would look right.
        if (qtype == QType.NvFp4)
            return where(scale.isnan(), scale, Codec.Decode(Codec.Encode(scale, QType.Float8E4M3Fn), QType.Float8E4M3Fn, scale.dtype));
        double bias = qtype == QType.MxFp4 ? 12.0 / 7.0 : 60.0 / 31.0;
        var rounded = (scale * Like(bias, scale)).to(ScalarType.BFloat16).to(ScalarType.Float32);
        var (_, exponent) = rounded.frexp();
        return where(scale.isfinite(), ones_like(rounded).ldexp(exponent - 1).to(scale.dtype), scale);
    }

    /// <summary>A number in the dtype of a tensor. Its rank is 1, since libtorch computes with rank-0 numbers in higher precision.</summary>
    private static Tensor Like(double value, Tensor tensor) => full([1], value, dtype: tensor.dtype, device: tensor.device);
}
