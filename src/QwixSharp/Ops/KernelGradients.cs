using QwixSharp.Arrays;
using QwixSharp.Kernels;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Passes;
using QwixSharp.Kernels.Weights;
using QwixSharp.Numerics;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>
/// The two products of the backward pass of y [.., N] = lhs [.., K] · rhsᵀ [N, K] on codes, with the library's own kernels:
/// the codes of the forward pass meet a gradient that is multiplied by their scales and then quantized itself.
/// </summary>
internal static unsafe class KernelGradients
{
    /// <summary>The gradient of lhs: gradient · rhs.</summary>
    /// <param name="gradient">[.., N].</param>
    /// <param name="rhs">[N, K] as the forward pass quantized it.</param>
    /// <param name="how">How the gradient is quantized once it is multiplied by the scales of rhs.</param>
    /// <returns>[.., K] of the caller's; or null where the kernels cannot serve.</returns>
    internal static Tensor? TryLhs(Tensor gradient, QArray rhs, HowToQuantize how)
    {
        if (!CanServe(rhs) || rhs.Rank != 2 || !RowQuantization.IsAbsMax(gradient, how))
            return null;
        long[] shape = gradient.shape;
        long columns = rhs.Shape[0], depth = rhs.Shape[1];
        var rows = new RowShape(gradient.numel() / columns, columns, columns);
        bool hasOneScale = HasOneScale(shape, how);
        if (!hasOneScale && RowLayout.Of(shape, how.ScaleShape(shape)) != rows)
            return null;

        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var incoming = gradient.contiguous();
        var factors = Factors(rhs);
        var codes = empty(rows.Rows, columns, dtype: ScalarType.Int8);
        var scales = empty(rows.Rows, dtype: ScalarType.Float32);
        if (hasOneScale)
            QuantizeWithOneScale(incoming * factors.reshape(-1), rows, how, codes, scales);
        else
            GradientPass.Rows(Floats(incoming), Floats(factors), rows, CodeRange.OfBits(how.QType.Bits), Codes(codes), Floats(scales), get_num_threads());
        using var weight = Transposed(rhs);
        var result = empty([.. shape[..^1], depth], dtype: ScalarType.Float32);
        Multiply(codes, scales, weight, result);
        return result.MoveToOuterDisposeScope();
    }

    /// <summary>The gradient of rhs: gradientᵀ · lhs.</summary>
    /// <param name="gradient">[.., N].</param>
    /// <param name="lhs">[.., K] as the forward pass quantized it.</param>
    /// <param name="how">How the gradient is quantized once it is multiplied by the scales of lhs.</param>
    /// <returns>[N, K] of the caller's; or null where the kernels cannot serve.</returns>
    internal static Tensor? TryRhs(Tensor gradient, QArray lhs, HowToQuantize how)
    {
        if (!CanServe(lhs) || lhs.ScaleShape[^1] != 1 || !RowQuantization.IsAbsMax(gradient, how))
            return null;
        long[] shape = gradient.shape, scaleShape = how.ScaleShape(shape);
        long columns = shape[^1], depth = gradient.numel() / columns, features = lhs.Shape[^1];
        bool hasOneScale = HasOneScale(shape, how);
        // Tiles are along the last axis that is contracted: those of a matrix are tiles of its columns.
        if (!hasOneScale && (scaleShape[^1] != columns || (shape.Length > 2 && scaleShape[..^1].Any(length => length != 1))))
            return null;

        long tiles = shape.Length == 2 ? scaleShape[0] : 1, tile = depth / tiles;
        if (tiles > 1 && tile > PackedWeight.LongestTile)
            return null;

        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var incoming = gradient.contiguous();
        var factors = Factors(lhs);
        var codes = empty(columns, depth, dtype: ScalarType.Int8);
        var scales = empty(columns, tiles, dtype: ScalarType.Float32);
        if (hasOneScale)
        {
            var lying = empty(depth, columns, dtype: ScalarType.Int8);
            QuantizeWithOneScale(incoming * factors, new RowShape(depth, columns, columns), how, lying, empty(depth, dtype: ScalarType.Float32), scales);
            codes = lying.t().contiguous();
        }
        else
        {
            GradientPass.Columns(Floats(incoming), Floats(factors), new RowShape(columns, depth, tile), CodeRange.OfBits(how.QType.Bits), Codes(codes), Floats(scales), get_num_threads());
        }

        using var weight = PackedWeight.FromColumns(Codes(lhs.GetQValue().contiguous()), features, depth, tile, get_num_threads());
        var result = empty(columns, features, dtype: ScalarType.Float32);
        Multiply(codes, scales, weight, result);
        return result.MoveToOuterDisposeScope();
    }

    /// <summary>The gradient of a convolution, multiplied by scales, then quantized and dequantized.</summary>
    /// <param name="gradient">[batch, features, spatial].</param>
    /// <param name="factors">The scales, 1 long on all axes but one of the first two.</param>
    /// <param name="how">How the product is quantized: with a scale for each index of one of the first two axes.</param>
    /// <returns>An array of its shape of the caller's; or null where the kernels cannot serve.</returns>
    internal static Tensor? TryRound(Tensor gradient, Tensor factors, HowToQuantize how)
    {
        if (!RowQuantization.IsAbsMax(gradient, how) || factors.dtype != ScalarType.Float32 || gradient.dim() < 2 || how.TiledAxes.Count > 0 || how.ChannelwiseAxes is not [0 or 1])
            return null;
        long[] shape = gradient.shape, factorShape = factors.shape;
        if (factorShape.Length != shape.Length || factorShape[2..].Any(length => length != 1) || (factorShape[0] > 1 && factorShape[1] > 1))
            return null;

        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        Tensor incoming = gradient.contiguous(), multipliers = factors.contiguous(), result = empty(shape, dtype: ScalarType.Float32);
        FakeQuantPass.AbsMaxOfChannels(
            Floats(incoming),
            shape[0],
            shape[1],
            gradient.numel() / (shape[0] * shape[1]),
            Floats(multipliers),
            factorShape[0] > 1 ? 1 : 0,
            factorShape[1] > 1 ? 1 : 0,
            scalePerChannel: how.ChannelwiseAxes[0] == 1,
            CodeRange.OfBits(how.QType.Bits),
            Floats(result),
            get_num_threads());
        return result.MoveToOuterDisposeScope();
    }

    /// <summary>Whether an operand's codes can be multiplied here: bytes on the CPU with a scale a channel.</summary>
    internal static bool CanServe(QArray residual) =>
        residual.Device.type == DeviceType.CPU && residual.Dtype == ScalarType.Float32 && residual.ZeroPoint is null
        && residual.QType is { Kind: QTypeKind.Integer, Bits: <= 8 } && residual.Rank >= 2 && residual.TiledAxes().Count == 0;

    /// <summary>Whether all of an array has one scale, as <c>DisableChannelwiseAxes</c> wants it.</summary>
    private static bool HasOneScale(long[] shape, HowToQuantize how) => shape.Length > 1 && how.ScaleShape(shape).All(length => length == 1);

    /// <summary>Quantizes an array with one scale from its largest magnitude; all of the scales' tensors are filled with it.</summary>
    private static void QuantizeWithOneScale(Tensor values, RowShape rows, HowToQuantize how, Tensor codes, params Tensor[] scales)
    {
        var range = CodeRange.OfBits(how.QType.Bits);
        float scale = RowQuantizer.Scale(values.abs().max().item<float>(), range);
        // Disposed only then, so that no finalizer frees it while native code reads it.
        using TorchSharp.Scalar number = scale;
        foreach (var filled in scales)
            filled.fill_(number);
        QuantizePass.WithScales(Floats(values), rows, Floats(scales[0]), null, range, Codes(codes), get_num_threads());
    }

    /// <summary>The scales of an operand, one for each index that the gradient shares with it.</summary>
    private static Tensor Factors(QArray residual) => residual.Scale.expand([.. residual.Shape[..^1], 1]).contiguous();

    private static PackedWeight Transposed(QArray rhs) => rhs.FindKernelForm<PackedForm>() is { } form
        ? form.Weight.Transpose(get_num_threads())
        : PackedWeight.FromColumns(Codes(rhs.GetQValue().contiguous()), rhs.Shape[1], rhs.Shape[0], rhs.Shape[0], get_num_threads());

    /// <summary>result [M, N] = codes [M, K] · weightᵀ, each row, or each tile of the weight's in it, times its scale.</summary>
    internal static void Multiply(Tensor codes, Tensor scales, PackedWeight weight, Tensor result)
    {
        bool isTiled = weight.Tiles > 1 && !weight.IsSplitChannel;
        var input = new QuantizedInput
        {
            Source = QuantizedSource.Codes,
            Values = TensorMemory.Address(codes),
            RowStride = codes.shape[1],
            Rows = checked((int)codes.shape[0]),
            Scales = TensorMemory.Address(scales),
            ScaleRowStride = isTiled ? weight.Tiles : 1,
            ScalePerTile = isTiled,
        };
        MatMul.Quantized(input, weight, new ProductOutput(TensorMemory.Address(result), weight.Rows), get_num_threads());
    }

    private static float* Floats(Tensor tensor) => (float*)TensorMemory.Address(tensor);

    private static sbyte* Codes(Tensor tensor) => (sbyte*)TensorMemory.Address(tensor);
}
