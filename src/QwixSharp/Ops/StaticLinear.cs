using QwixSharp.Arrays;
using QwixSharp.Kernels;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Weights;
using QwixSharp.Numerics;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>
/// A linear layer in the kernels' form whose input is quantized with one scale known before: a call makes its result and no other
/// tensor. It computes what the general way computes, bit for bit.
/// </summary>
internal sealed class StaticLinear
{
    private readonly QArray _weight;

    private StaticLinear(QArray weight, QType qtype) => (_weight, QType) = (weight, qtype);

    /// <summary>The type of the activations' codes.</summary>
    internal QType QType { get; }

    /// <summary>The weight; null once its array is disposed.</summary>
    private PackedWeight? Weight => _weight.FindKernelForm<PackedForm>()?.Weight;

    /// <summary>Decides how a layer is computed.</summary>
    /// <param name="weight">[out, in], of which the general way has made the kernels' form.</param>
    /// <param name="qtype">The type of the activations' codes.</param>
    /// <returns>The layer, or null where only the general way can serve it.</returns>
    internal static StaticLinear? TryMake(QArray weight, QType qtype) =>
        weight is { Rank: 2, QType.Kind: QTypeKind.Integer } && weight.FindKernelForm<PackedForm>() is not null && qtype is { Kind: QTypeKind.Integer, Bits: > 1 and <= 8 }
            ? new StaticLinear(weight, qtype)
            : null;

    /// <summary>Whether the layer can be computed: values that are not finite are left to the general way.</summary>
    /// <param name="input">[…, in].</param>
    /// <param name="bias">[out], or null.</param>
    internal unsafe bool CanCompute(Tensor input, Tensor? bias)
    {
        if (Weight is not { } weight || !CanRead(input) || (bias is not null && !(CanRead(bias) && bias.numel() == weight.Rows)))
            return false;
        int rank = (int)input.dim();
        long count = input.numel();
        return rank > 0 && count > 0 && input.size(rank - 1) == weight.Depth && count / weight.Depth <= int.MaxValue
            && RowQuantizer.AbsMax((float*)TensorMemory.Address(input), count) < float.PositiveInfinity;
    }

    /// <summary>Computes x · wᵀ + b.</summary>
    /// <param name="input">[…, in].</param>
    /// <param name="scale">What a code of the input stands for.</param>
    /// <param name="zeroPoint">The code of 0.</param>
    /// <param name="bias">[out], or null.</param>
    /// <returns>[…, out], the caller's.</returns>
    internal Tensor Compute(Tensor input, float scale, int zeroPoint, Tensor? bias)
    {
        var weight = Weight!;
        long[] shape = new long[input.dim()];
        for (int axis = 0; axis < shape.Length - 1; axis++)
            shape[axis] = input.size(axis);
        shape[^1] = weight.Rows;
        var result = empty(shape, dtype: ScalarType.Float32);
        var activations = new QuantizedInput
        {
            Source = QuantizedSource.Static,
            Values = TensorMemory.Address(input),
            RowStride = weight.Depth,
            Rows = (int)(input.numel() / weight.Depth),
            Range = CodeRange.OfBits(QType.Bits),
            StaticScale = scale,
            StaticZeroPoint = zeroPoint,
        };
        MatMul.Quantized(activations, weight, new ProductOutput(TensorMemory.Address(result), weight.Rows, bias is null ? 0 : TensorMemory.Address(bias)), get_num_threads());
        return result;
    }

    private static bool CanRead(Tensor tensor) =>
        tensor.dtype == ScalarType.Float32 && tensor.device_type == DeviceType.CPU && tensor.is_contiguous() && !(tensor.requires_grad && is_grad_enabled());
}
