using QwixSharp.Interception;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Odml.Device;

/// <summary>How LiteRT scales the sums of a product.</summary>
internal enum ProductKind
{
    /// <summary>FULLY_CONNECTED.</summary>
    Linear,

    /// <summary>CONV_2D without groups.</summary>
    Convolution,

    /// <summary>CONV_2D with groups.</summary>
    Grouped,

    /// <summary>TRANSPOSE_CONV.</summary>
    Transposed,

    /// <summary>DEPTHWISE_CONV_2D.</summary>
    Depthwise,
}

/// <summary>A product of codes: whole numbers, which double precision holds exactly, where floating point of the values rounds.</summary>
/// <param name="Kind">Which kernel it is.</param>
/// <param name="Input">The codes of its activations.</param>
/// <param name="Sum">The sums, without bias.</param>
/// <param name="Magnitudes">The sum of the weight codes' magnitudes, for each channel.</param>
internal sealed record CodeProduct(ProductKind Kind, FakeQuantAnnotation Input, Func<Tensor> Sum, Func<Tensor> Magnitudes);

/// <summary>Products of activations with weights, and of activations with one another.</summary>
internal static class ProductKernels
{
    /// <summary>The product of the codes of a product's operands.</summary>
    /// <param name="run">The forward pass.</param>
    /// <param name="call">The call.</param>
    /// <param name="name">The op's name.</param>
    /// <param name="lhs">The quantized activations.</param>
    /// <param name="rhs">The quantized weight.</param>
    /// <param name="features">How many output channels there are.</param>
    /// <param name="place">Puts operands into the place of the call's own.</param>
    internal static CodeProduct? OfWeight(OdmlRun run, in OpCall call, string name, Tensor lhs, Tensor rhs, long features, Func<object?[], Tensor, Tensor, object?[]> place)
    {
        if (!run.RoundsAsDevice || DeviceKernels.Operand(run, lhs) is not { } input || run.Tags[rhs]?.Codes is not { } weight)
            return null;
        int axis = weight.QuantizationDimension ?? (name.StartsWith("conv_transpose", StringComparison.Ordinal) || name is "matmul" or "mm" ? 1 : 0);
        long[] shape = [.. rhs.shape.Select((_, a) => weight.QuantizationDimension == a ? -1L : 1)];
        var values = run.Own(rhs.alias());
        Tensor Codes() => DeviceCodes.Weight(values, tensor([.. weight.Scale]).reshape(shape), weight.QType, axis);
        var kind = Kind(call, name, lhs);
        var sum = Sum(run, call, place, input.Steps, Codes);
        return new CodeProduct(kind, input.Codes, sum, () =>
        {
            var codes = Codes();
            // A code more for each, for what rounding may add. Groups of a transposed convolution share their channels' numbers.
            var channels = codes.abs().sum(DeviceCodes.OtherAxes(codes, axis)) + (codes.NumberOfElements / codes.shape[axis]);
            return channels.repeat(Math.Max(1, features / channels.shape[0]));
        });
    }

    /// <summary>The product with a weight that finds the range of its activations when it runs; null where that is not known.</summary>
    internal static DynamicProduct? Dynamic(OdmlRun run, in OpCall call, Tensor lhs, QType? weight)
    {
        var name = OpNaming.Of(call.Op);
        if (!run.RoundsAsDevice || name == "einsum")
            return null;
        var kind = Kind(call, name, lhs);
        int axes = name.EndsWith("1d", StringComparison.Ordinal) ? 1 : 2;
        return new(kind, lhs.dim() == axes + 2, kind == ProductKind.Linear && weight == QType.Int4 && lhs.shape[^1] % 2 == 1);
    }

    private static ProductKind Kind(in OpCall call, string name, Tensor input)
    {
        if (!name.StartsWith("conv", StringComparison.Ordinal))
            return ProductKind.Linear;
        long groups = (long?)DeviceKernels.Number(OpMap.Arguments.Named(call, "groups")) ?? 1;
        if (name.StartsWith("conv_transpose", StringComparison.Ordinal))
            return ProductKind.Transposed;
        bool isDepthwise = groups == input.shape[name.EndsWith("1d", StringComparison.Ordinal) ? ^2 : ^3];
        return groups == 1 ? ProductKind.Convolution : isDepthwise ? ProductKind.Depthwise : ProductKind.Grouped;
    }

    /// <summary>The kernel of a product with weights.</summary>
    internal static DeviceKernel? Of(ProductSums? sums)
    {
        if (sums is not { Codes: { } product })
            return null;
        return output =>
        {
            if (output.QType != product.Input.QType || sums.Steps.eq(0).any().item<bool>())
                return null;
            // A batch norm with a negative factor turns the signs of the weight.
            var (sign, step) = (sums.Steps.sign(), sums.Steps.abs());
            var bias = (sums.Rounded / step).round();
            var total = (product.Sum().transpose(sums.Channels, -1) * sign) + bias;
            float input = product.Input.Scale[0];
            var result = output.QType == QType.Int16
                ? Scaled16(product, total, step, bias, output)
                : Scaled(total, (step / (double)input).to(ScalarType.Float32) * input / output.Scale[0]);
            return DeviceCodes.Values(result.transpose(sums.Channels, -1), output);
        };
    }

    /// <summary>The kernel of a product of activations.</summary>
    internal static DeviceKernel? OfActivations(OdmlRun run, in OpCall call, Tensor lhs, Tensor rhs, Func<object?[], Tensor, Tensor, object?[]> place)
    {
        if (!run.RoundsAsDevice || DeviceKernels.Operand(run, lhs) is not { } left || DeviceKernels.Operand(run, rhs) is not { } right)
            return null;
        var sum = Sum(run, call, place, left.Steps, right.Steps);
        return output =>
        {
            if (output.QType != left.Codes.QType || output.QType != right.Codes.QType)
                return null;
            var total = sum();
            float product = left.Scale * right.Scale;
            if (output.QType == QType.Int8 && DeviceCodes.ZeroPoint(right.Codes) == 0)
                return DeviceCodes.Values(Scaled(total, product / output.Scale[0]), output);
            // XNNPACK leaves int16, and a right side with a zero point, to LiteRT's own kernels.
            var factor = FixedPoint.Factor((double)product / output.Scale[0]);
            total = total.to(ScalarType.Int64);
            return DeviceCodes.Values(output.QType == QType.Int16 ? FixedPoint.ScaleWide(total, factor) : FixedPoint.Scale(total, factor), output);
        };
    }

    private static Func<Tensor> Sum(OdmlRun run, in OpCall call, Func<object?[], Tensor, Tensor, object?[]> place, Func<Tensor> lhs, Func<Tensor> rhs)
    {
        var copy = call;
        object?[] arguments = [.. call.Arguments];
        int bias = Array.FindIndex(call.Op.Method.GetParameters(), p => p.Name == "bias");
        if (bias >= 0)
            arguments[bias + (call.Op.Method.IsStatic ? 0 : 1)] = null;
        return () => (Tensor)run.Execute(copy, copy.Op, place(arguments, lhs(), rhs()))!;
    }

    /// <summary>XNNPACK scales in floating point, and takes ties to even codes.</summary>
    private static Tensor Scaled(Tensor total, Tensor scale) => (total.to(ScalarType.Float32) * scale).round();

    private static Tensor Scaled16(CodeProduct product, Tensor total, Tensor step, Tensor bias, FakeQuantAnnotation output)
    {
        var factor = step / (double)output.Scale[0];
        if (product.Kind == ProductKind.Linear)
            return FixedPoint.RoundAway(total * factor);

        var factors = Array.ConvertAll(factor.data<double>().ToArray(), FixedPoint.Factor);
        bool isNarrow = product.Kind != ProductKind.Depthwise && DeviceCodes.SumsAreNarrow(product.Magnitudes(), bias);
        total = total.to(ScalarType.Int64);
        return !isNarrow ? FixedPoint.ScaleWide(total, factors) : product.Kind == ProductKind.Convolution ? FixedPoint.ScaleOnce(total, factors) : FixedPoint.Scale(total, factors);
    }
}
