using QwixSharp.Arrays;
using QwixSharp.Kernels;
using QwixSharp.Numerics;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>
/// A linear layer in the kernels' form, all decided beforehand: a call makes its result and no other tensor. It computes
/// what the general way computes, bit for bit.
/// </summary>
internal sealed class PackedLinear
{
    private readonly QArray _weight;
    private readonly int _actBits;
    private readonly bool _scalePerTile;

    private PackedLinear(QArray weight, int actBits, bool scalePerTile)
    {
        _weight = weight;
        _actBits = actBits;
        _scalePerTile = scalePerTile;
    }

    /// <summary>Decides how a layer is computed.</summary>
    /// <param name="weight">[out, in], of which the general way has made the kernels' form.</param>
    /// <param name="actQType">The type of the activations, ranged at each call by their largest magnitude; null for float32.</param>
    /// <param name="tilesActivations">Whether activations have the weight's tiles; else one scale a row.</param>
    /// <returns>The layer, or null where only the general way can serve it.</returns>
    internal static PackedLinear? TryMake(QArray weight, QType? actQType, bool tilesActivations)
    {
        if (weight.Rank != 2 || weight.FindKernelForm<PackedForm>() is null)
            return null;
        if (actQType is null)
            return new PackedLinear(weight, 0, false);
        return actQType is { Kind: QTypeKind.Integer, Bits: > 1 and <= 8 } && weight.QType.Kind == QTypeKind.Integer
            ? new PackedLinear(weight, actQType.Bits, tilesActivations)
            : null;
    }

    /// <summary>Computes x · wᵀ + b.</summary>
    /// <param name="input">[…, in].</param>
    /// <param name="bias">[out], or null.</param>
    /// <returns>[…, out], the caller's; or null where only the general way can compute it.</returns>
    internal unsafe Tensor? TryCompute(Tensor input, Tensor? bias)
    {
        if (_weight.FindKernelForm<PackedForm>()?.Weight is not { } weight || !CanRead(input) || (bias is not null && !(CanRead(bias) && bias.is_contiguous())))
            return null;
        long[] shape = input.shape;
        long rows = 1;
        for (int axis = 0; axis < shape.Length - 1; axis++)
            rows *= shape[axis];
        if (shape.Length == 0 || shape[^1] != weight.Depth || rows is 0 or > int.MaxValue)
            return null;
        shape[^1] = weight.Rows;
        var result = empty(shape, dtype: ScalarType.Float32);
        var copy = input.is_contiguous() ? null : input.contiguous();
        float* x = (float*)TensorMemory.Address(copy ?? input);
        var output = new ProductOutput(TensorMemory.Address(result), weight.Rows, bias is null ? 0 : TensorMemory.Address(bias));
        if (_actBits == 0)
            MatMul.WeightOnly(x, weight.Depth, (int)rows, weight, output, get_num_threads());
        else
            MatMul.Dynamic(x, weight.Depth, (int)rows, weight, output, get_num_threads(), _actBits, _scalePerTile);
        copy?.Dispose();
        return result;
    }

    private static bool CanRead(Tensor tensor) =>
        tensor.dtype == ScalarType.Float32 && tensor.device_type == DeviceType.CPU && !(tensor.requires_grad && is_grad_enabled());
}
