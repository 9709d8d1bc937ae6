using QwixSharp.LiteRT.FlatBuffers;
using QwixSharp.LiteRT.Graphs;
using QwixSharp.LiteRT.Lowering;
using QwixSharp.Providers.Odml.Device;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Passes.Integers;

/// <summary>Weights, biases and other constants as integers.</summary>
internal static class IntegerConstants
{
    private const string BiasType = "quantized_bias_type";

    /// <summary>A fake-quantized weight as its codes. Its scales, if several, are those of its output channels.</summary>
    internal static GraphTensor Weight(GraphOp op, GraphTensor weight)
    {
        var codes = weight.FakeQuant!;
        int axis = op.Op == BuiltinOp.DepthwiseConv2D ? 3 : 0;
        if (codes.Scales.Length > 1 && codes.Scales.Length != weight.Shape[axis])
            throw new LiteRtException($"{op.Place} cannot be exported: the weight \"{codes.Place}\" has {codes.Scales.Length} scales, which are not those of its {weight.Shape[axis]} output channels. Pass disablePerChannelWeights: true.");
        var (low, high) = codes.Type switch { LiteRtType.Int4 => (-8, 7), LiteRtType.Int8 => (-128, 127), _ => throw new LiteRtException($"{op.Place} cannot be exported: the weight \"{codes.Place}\" is int16, and LiteRT has weights of int4 and int8.") };
        long[] shape = [.. Enumerable.Repeat(1L, weight.Rank)];
        shape[axis] = -1;
        using var scope = NewDisposeScope();
        var values = ((weight.Constant! / tensor(codes.Scales).reshape(shape)).round() + codes.ZeroPoint).clamp(low, high).to(ScalarType.Int8);
        if (codes.Type == LiteRtType.Int8 && IntegerOps.Products.Contains(op.Op))
            values = DeviceCodes.WithoutPairs(values, axis);
        values.MoveToOuterDisposeScope();
        // Depthwise kernels know no int4: its codes are kept as int8.
        var type = op.Op == BuiltinOp.DepthwiseConv2D ? LiteRtType.Int8 : codes.Type;
        return new GraphTensor(type, weight.Shape, weight.Name) { Constant = values, Quantization = codes.Parameters with { Dimension = codes.Scales.Length > 1 ? axis : 0 } };
    }

    /// <summary>Tells a convolution with int16 activations whose sums are <see cref="DeviceCodes.SumsAreNarrow">narrow</see> to have sums of 32 bits.</summary>
    internal static void NarrowSums(GraphOp op, GraphTensor weight, GraphTensor? bias, FakeQuant input)
    {
        if (input.Type != LiteRtType.Int16 || op.Op is not (BuiltinOp.Conv2D or BuiltinOp.TransposeConv))
            return;
        using var scope = NewDisposeScope();
        var steps = tensor(weight.FakeQuant!.Scales);
        var magnitudes = (weight.Constant!.abs().to(ScalarType.Float64).sum([1, 2, 3]) / steps) + (weight.Elements / weight.Shape[0]);
        var biases = bias is null ? zeros_like(magnitudes) : bias.Constant!.to(ScalarType.Float64) / (steps * input.Scale);
        if (DeviceCodes.SumsAreNarrow(magnitudes, biases))
            op.Options[BiasType] = (int)LiteRtType.Int32;
    }

    /// <summary>A bias in steps of input scale times weight scale, which the kernel adds to its sums: int32, or int64 where these are.</summary>
    internal static GraphTensor Bias(GraphOp op, GraphTensor bias, FakeQuant input, FakeQuant weight)
    {
        bool wide = input.Type == LiteRtType.Int16 && op.Option(BiasType) == 0;
        double[] scales = SumScales(input, weight);
        using var scope = NewDisposeScope();
        var codes = BiasCodes(bias, scales);
        double largest = codes.abs().max().item<double>();
        if (!double.IsFinite(largest))
            throw new LiteRtException($"{op.Place} cannot be exported: its bias \"{bias.Name}\" has values that are not finite, for which there are no integers. Train again, or load other parameters.");
        if (!wide && largest > int.MaxValue)
            throw new LiteRtException($"{op.Place} cannot be exported: its bias \"{bias.Name}\" takes more than 32 bits in steps of {scales.Min():G3}, the input's scale times the weight's \"{weight.Place}\". A weight's channel is close to 0: train again, or pass disablePerChannelWeights: true.");
        var values = codes.to(wide ? ScalarType.Int64 : ScalarType.Int32).MoveToOuterDisposeScope();
        return new GraphTensor(wide ? LiteRtType.Int64 : LiteRtType.Int32, bias.Shape, bias.Name)
        {
            Constant = values,
            Quantization = new LiteRtQuantization([.. scales.Select(s => (float)s)], new long[scales.Length]),
        };
    }

    /// <summary>A bias in floating point, of the values that it has in whole steps of the sums.</summary>
    internal static GraphTensor RoundedBias(GraphTensor bias, FakeQuant input, FakeQuant weight)
    {
        double[] scales = SumScales(input, weight);
        using var scope = NewDisposeScope();
        return GraphBuilder.Constant((BiasCodes(bias, scales) * tensor(scales)).to(ScalarType.Float32).MoveToOuterDisposeScope(), bias.Name);
    }

    /// <summary>The steps of a product's sums, one or one for each channel.</summary>
    internal static double[] SumScales(FakeQuant input, FakeQuant weight) => [.. weight.Scales.Select(s => s * input.Scale)];

    private static Tensor BiasCodes(GraphTensor bias, double[] scales) => (bias.Constant!.to(ScalarType.Float64) / tensor(scales)).round();

    /// <summary>
    /// A constant operand of an op on activations: by its own fake-quant, or, for a single number, with a scale that holds it
    /// exactly. Null where neither is so.
    /// </summary>
    internal static GraphTensor? Operand(GraphTensor constant, FakeQuant result)
    {
        var codes = constant.FakeQuant;
        double largest = constant.Constant!.abs().max().to(ScalarType.Float64).item<double>();
        if (largest == 0)
            codes = result with { ZeroPoint = 0 };
        else if (codes is null && constant.Elements == 1 && (float)(largest / 64) > 0)
            codes = new FakeQuant(result.Type, [largest / 64], 0, constant.Name);
        bool fits = codes is { Scales.Length: 1 } && (codes.Type == LiteRtType.Int4 ? LiteRtType.Int8 : codes.Type) == result.Type;
        return fits ? Encode(constant, codes! with { Type = result.Type }) : null;
    }

    /// <summary>A constant in given integers.</summary>
    internal static GraphTensor Encode(GraphTensor constant, FakeQuant codes)
    {
        var (low, high, dtype) = codes.Type == LiteRtType.Int16 ? (-32768, 32767, ScalarType.Int16) : (-128, 127, ScalarType.Int8);
        using var scope = NewDisposeScope();
        var values = ((constant.Constant!.to(ScalarType.Float64) / codes.Scale).round() + codes.ZeroPoint).clamp(low, high).to(dtype).MoveToOuterDisposeScope();
        return new GraphTensor(codes.Type, constant.Shape, constant.Name) { Constant = values, Quantization = codes.Parameters };
    }
}
