using static TorchSharp.torch;

namespace QwixSharp.Providers.Odml.Device;

/// <summary>A product that finds the range of its activations when it runs.</summary>
/// <param name="Kind">Which kernel it is.</param>
/// <param name="IsBatched">Whether the first axis of a convolution's activations counts images.</param>
/// <param name="IsSymmetric">Whether there are no zero points: XNNPACK leaves int4 weights of an odd number of features to LiteRT's own kernel.</param>
internal sealed record DynamicProduct(ProductKind Kind, bool IsBatched, bool IsSymmetric);

/// <summary>
/// Activations whose range the device finds when it runs. Products with constant weights do so: a linear layer for each row, convolutions for each
/// image, with a zero point. A transposed convolution does not; its activations stay as they are.
/// </summary>
internal static class DynamicRange
{
    private const int Low = -128, High = 127;

    internal static Tensor FakeQuantize(Tensor values, DynamicProduct product)
    {
        if (product.Kind == ProductKind.Transposed)
            return values.alias();
        using var scope = NewDisposeScope();
        int first = product.IsBatched ? 1 : 0;
        long[] axes = product.Kind == ProductKind.Linear ? [-1] : [.. Enumerable.Range(first, (int)values.dim() - first).Select(a => (long)a)];
        Tensor exact = values.to(ScalarType.Float32), least = exact.amin(axes, keepdim: true).clamp(max: 0), most = exact.amax(axes, keepdim: true).clamp(min: 0);
        var result = product switch
        {
            { Kind: ProductKind.Depthwise } => Double(exact, least, most),
            { IsSymmetric: true } => Symmetric(exact, maximum(-least, most)),
            _ => Single(exact, least, most),
        };
        return result.to(values.dtype).MoveToOuterDisposeScope();
    }

    /// <summary>XNNPACK: in single precision, ties to even.</summary>
    private static Tensor Single(Tensor values, Tensor least, Tensor most)
    {
        var perUnit = where(least.eq(most), ones_like(least), full_like(least, High - Low) / (most - least));
        var fromLeast = Low - (least * perUnit);
        var fromMost = High - (most * perUnit);
        var isBetter = (Low + (least * perUnit) + (High + (most * perUnit))).gt(0);
        var zeroPoint = where(isBetter, fromLeast, fromMost).clamp(Low, High).round();
        var steps = (values * perUnit).round().clamp(Low - zeroPoint, High - zeroPoint);
        return steps * perUnit.reciprocal();
    }

    /// <summary>LiteRT's own kernel for linear layers: without a zero point, ties away from zero.</summary>
    private static Tensor Symmetric(Tensor values, Tensor largest)
    {
        largest = where(largest.eq(0), ones_like(largest), largest);
        var steps = values * (full_like(largest, High) / largest);
        return (steps.sign() * (steps.abs() + 0.5f).floor()).clamp(-High, High) * (largest / High);
    }

    /// <summary>LiteRT's own kernel for depthwise convolutions: the range in double precision, ties away from zero.</summary>
    private static Tensor Double(Tensor values, Tensor least, Tensor most)
    {
        (least, most) = (least.to(ScalarType.Float64), most.to(ScalarType.Float64));
        var scale = where(least.eq(most), ones_like(least), (most - least) / (High - Low));
        Tensor fromLeast = Low - (least / scale), fromMost = High - (most / scale);
        var isBetter = (128 + (least / scale).abs()).lt(127 + (most / scale).abs());
        var zeroPoint = where(isBetter, fromLeast, fromMost).clamp(Low, High).round();
        var codes = zeroPoint + (values * scale.to(ScalarType.Float32).reciprocal());
        return ((codes.sign() * (codes.abs() + 0.5).floor()).clamp(Low, High) - zeroPoint) * scale.to(ScalarType.Float32);
    }
}
