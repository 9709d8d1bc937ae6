using QwixSharp.Arrays;
using QwixSharp.Kernels;
using QwixSharp.Kernels.Weights;
using QwixSharp.Numerics;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>
/// A linear layer in the kernels' form, all decided beforehand: a call makes its result and no other tensor. It computes
/// what the general way computes, bit for bit.
/// </summary>
internal sealed partial class PackedLinear
{
    private readonly QArray _weight;
    private object? _forms;
    private PackedWeight? _known;

    private PackedLinear(QArray weight, int actBits, bool scalePerTile)
    {
        _weight = weight;
        ActBits = actBits;
        ScalePerTile = scalePerTile;
    }

    /// <summary>The bits of the activations' codes; 0 where activations stay float32.</summary>
    internal int ActBits { get; }

    /// <summary>Whether each of the weight's tiles of a row of activations has a scale of its own.</summary>
    internal bool ScalePerTile { get; }

    /// <summary>The weight; null once its array is disposed.</summary>
    internal PackedWeight? Weight
    {
        get
        {
            // It is asked for at every call, and on the way to it nothing is in the processor's caches.
            object forms = _weight.KernelForms;
            if (!ReferenceEquals(forms, Volatile.Read(ref _forms)))
            {
                _known = _weight.FindKernelForm<PackedForm>()?.Weight;
                Volatile.Write(ref _forms, forms);
            }

            return _known;
        }
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
    internal Tensor? TryCompute(Tensor input, Tensor? bias) => TryCompute(input, bias, FusedActivation.None);

    /// <summary>Computes gelu(x · wᵀ + b).</summary>
    /// <param name="input">[…, in].</param>
    /// <param name="bias">[out], or null.</param>
    /// <returns>[…, out], the caller's; or null where only the general way can compute it.</returns>
    internal Tensor? TryComputeGelu(Tensor input, Tensor? bias) => TryCompute(input, bias, FusedActivation.Gelu);

    private Tensor? TryCompute(Tensor input, Tensor? bias, FusedActivation activation)
    {
        if (Weight is not { } weight || !CanRead(input) || !CanAdd(bias) || !TryGetRows(input, weight, out int rows))
            return null;
        var result = Result(input, weight);
        using var copy = input.is_contiguous() ? null : input.contiguous();
        Compute(new FloatInput(TensorMemory.Address(copy ?? input), weight.Depth, rows), Output(TensorMemory.Address(result), weight, bias) with { Activation = activation });
        return result;
    }

    private void Compute(in FloatInput x, in ProductOutput output)
    {
        if (ActBits == 0)
            MatMul.WeightOnly(x, Weight!, output, get_num_threads());
        else
            MatMul.Dynamic(x, Weight!, output, get_num_threads(), ActBits, ScalePerTile);
    }

    /// <summary>The shape of the result for the shape of an input; null where only the general way can compute it.</summary>
    internal long[]? ResultShape(long[] input)
    {
        if (Weight is not { } weight || input.Length == 0 || input[^1] != weight.Depth)
            return null;
        long rows = 1;
        foreach (long length in input.AsSpan(0, input.Length - 1))
            rows *= length;
        return rows is > 0 and <= int.MaxValue ? [.. input[..^1], weight.Rows] : null;
    }

    private static bool CanRead(Tensor tensor) =>
        tensor.dtype == ScalarType.Float32 && tensor.device_type == DeviceType.CPU && !(tensor.requires_grad && is_grad_enabled());

    private static bool CanAdd(Tensor? bias) => bias is null || (CanRead(bias) && bias.is_contiguous());

    /// <summary>How many rows of activations a tensor holds; false where they do not fit the weight, or there are none.</summary>
    private static bool TryGetRows(Tensor input, PackedWeight weight, out int rows)
    {
        long count = 1;
        int rank = (int)input.dim();
        for (int axis = 0; axis < rank - 1; axis++)
            count *= input.size(axis);
        rows = (int)Math.Min(count, int.MaxValue);
        return rank > 0 && count is > 0 and <= int.MaxValue && input.size(rank - 1) == weight.Depth;
    }

    /// <summary>[…, out], of which nothing is written yet.</summary>
    private static Tensor Result(Tensor input, PackedWeight weight)
    {
        // The sizes one by one: asking for the shape goes through a callback, which takes twenty times as long.
        long[] shape = new long[input.dim()];
        for (int axis = 0; axis < shape.Length - 1; axis++)
            shape[axis] = input.size(axis);
        shape[^1] = weight.Rows;
        return empty(shape, dtype: ScalarType.Float32);
    }

    private static ProductOutput Output(nint result, PackedWeight weight, Tensor? bias) =>
        new(result, weight.Rows, bias is null ? 0 : TensorMemory.Address(bias));
}
