using QwixSharp.Arrays;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Ops.Training;

/// <summary>
/// A general product in training. Forwards it multiplies quantized operands; backwards it gives the straight-through
/// estimator, whose products can be quantized as well.
/// </summary>
internal sealed class DotGeneralTraining : ITrainedProduct
{
    private readonly DotDimensionNumbers _numbers;
    private readonly TrainingSettings _settings;
    private Side _lhs = null!;
    private Side _rhs = null!;
    private long[] _resultShape = [];

    private DotGeneralTraining(DotDimensionNumbers numbers, TrainingSettings settings) => (_numbers, _settings) = (numbers, settings);

    /// <summary>Computes a product, with its gradient where one is needed.</summary>
    /// <returns>[batch…, free axes of lhs…, free axes of rhs…], the caller's.</returns>
    /// <exception cref="ArgumentException">The operands cannot be multiplied so, forwards or backwards.</exception>
    internal static Tensor Compute(Tensor lhs, Tensor rhs, DotDimensionNumbers numbers, TrainingSettings settings) =>
        ProductFunction.Apply(new DotGeneralTraining(numbers, settings), lhs, rhs);

    /// <inheritdoc/>
    public Tensor Forward(Tensor lhs, Tensor rhs, SavedTensors? saved)
    {
        var (lhsAxes, rhsAxes) = _numbers.Resolve(lhs.shape, rhs.shape);
        bool reusesRight = saved is not null && lhs.requires_grad && !_settings.UseOriginalResiduals;
        using var left = Quantize(lhs, _settings.Lhs, forLhs: true, rhs, saved, StepQuantizer.Quantize);
        using var right = Quantize(rhs, _settings.Rhs, forLhs: false, lhs, saved, (array, how) => StepQuantizer.QuantizeRight(array, how, reusesRight));
        var result = DotGeneralOp.Compute(left.Operand, right.Operand, _numbers, null);
        if (saved is null)
            return result;
        _resultShape = result.shape;
        _lhs = new Side(lhsAxes, lhs, left.Mask is { } l ? saved.Add(l) : null);
        _rhs = new Side(rhsAxes, rhs, right.Mask is { } r ? saved.Add(r) : null);
        // The gradient of each operand needs the other one.
        Keep(_lhs, left, rhs.requires_grad, _settings.RhsGradient, saved);
        Keep(_rhs, right, lhs.requires_grad, _settings.LhsGradient, saved);
        return result;
    }

    /// <inheritdoc/>
    public (Tensor? Lhs, Tensor? Rhs) Backward(Tensor gradient, IReadOnlyList<Tensor> saved) =>
        (_lhs.NeedsGradient ? GradientOf(forLhs: true, gradient, saved) : null, _rhs.NeedsGradient ? GradientOf(forLhs: false, gradient, saved) : null);

    /// <summary>Refuses an operand whose codes cannot be multiplied with a quantized gradient.</summary>
    /// <exception cref="ArgumentException">It has zero points, or its codes are indices.</exception>
    internal static void CheckCanBeReused(QArray array)
    {
        if (array.ZeroPoint is not null)
            throw new ArgumentException($"With BwdQType, quantized operands are multiplied as codes in the backward pass, and {array} has a zero point. Calibrate it symmetrically (absmax, rms, or a fixed range around 0), or set UseOriginalResiduals.");
        if (!array.QType.CanDequantizeOnOutput)
            throw new ArgumentException($"With BwdQType, quantized operands are multiplied as codes in the backward pass, which those of {array.QType} cannot be. Use another type, tiles, or set UseOriginalResiduals.");
    }

    private TrainedOperand Quantize(Tensor operand, OperandSettings settings, bool forLhs, Tensor other, SavedTensors? saved, Func<Tensor, HowToQuantize, QArray> quantize)
    {
        var (lhsRank, rhsRank) = forLhs ? ((int)operand.dim(), (int)other.dim()) : ((int)other.dim(), (int)operand.dim());
        return TrainedOperand.Quantize(
            operand,
            settings,
            () => OneScale(DotGeneralOp.HowToQuantize(_numbers, lhsRank, rhsRank, forLhs, settings.QType!, settings.Tiling, settings.Calibration)),
            clips: saved is not null && operand.requires_grad && !_settings.DisableGradientClipping,
            quantize);
    }

    /// <summary>Saves an operand for the gradient of the other, and checks that this can be computed.</summary>
    private void Keep(Side side, TrainedOperand operand, bool isNeeded, GradientSettings gradient, SavedTensors saved)
    {
        if (!isNeeded)
            return;
        // Scales of tiles lie along the axis that the forward product contracts, and fit no other product.
        bool original = _settings.UseOriginalResiduals || operand.Array is not { } array || array.TiledAxes().Count > 0 || array.QType.IsMicroScaled;
        side.Residual = saved.Add(original ? operand.Source : operand.Operand);
        bool forLhs = ReferenceEquals(side, _rhs);
        var product = BackwardProduct.For(_lhs.Axes, _rhs.Axes, forLhs);
        if (gradient.QType is not null)
        {
            if (!original)
                CheckCanBeReused(operand.Array!);
            HowForGradient(product, gradient, operand.Source).ScaleShape(_resultShape);
        }

        if (original && gradient.ResidualQType is not null)
            HowForResidual(product, gradient, operand.Source).ScaleShape(operand.Source.shape);
    }

    private Tensor GradientOf(bool forLhs, Tensor gradient, IReadOnlyList<Tensor> saved)
    {
        using var scope = NewDisposeScope();
        var (own, other) = forLhs ? (_lhs, _rhs) : (_rhs, _lhs);
        var settings = forLhs ? _settings.LhsGradient : _settings.RhsGradient;
        var product = BackwardProduct.For(_lhs.Axes, _rhs.Axes, forLhs);
        var residual = other.Residual!.Restore(saved);
        var result = OnKernels(forLhs, gradient, residual, product, settings) ?? OnPlain(forLhs, gradient, residual, settings) ?? Multiply(forLhs, gradient, residual, product, settings);
        result = result.to(own.Dtype);
        return (own.Mask?.Restore(saved).Apply(result, mayOverwrite: true) ?? result).MoveToOuterDisposeScope();
    }

    /// <summary>The product of a linear layer's backward pass on the kernels; null where they cannot serve.</summary>
    private Tensor? OnKernels(bool forLhs, Tensor gradient, Operand residual, BackwardProduct product, GradientSettings settings)
    {
        if (!IsLinear || settings.QType is null || residual.QArray is not { } array)
            return null;
        var how = HowForGradient(product, settings, residual);
        return forLhs ? KernelGradients.TryLhs(gradient, array, how) : KernelGradients.TryRhs(gradient, array, how);
    }

    /// <summary>Whether this is lhs [.., K] · rhs [N, K] transposed.</summary>
    private bool IsLinear => _lhs.Axes is { InOrder: true, Batch: [], Contracting: [_] } && _rhs.Axes is { InOrder: true, Batch: [], Free: [_], Contracting: [_] };

    /// <summary>The product of a linear layer's backward pass in floating point, as libtorch has it; null where numbers are to be quantized or converted.</summary>
    private Tensor? OnPlain(bool forLhs, Tensor gradient, Operand residual, GradientSettings settings)
    {
        if (!IsLinear || settings.QType is not null || settings.ResidualQType is not null || residual.Tensor is not { } other || other.dtype != gradient.dtype || other.dtype != ScalarType.Float32)
            return null;
        return forLhs ? gradient.matmul(other) : gradient.reshape(-1, gradient.shape[^1]).t().matmul(other.reshape(-1, other.shape[^1]));
    }

    private Tensor Multiply(bool forLhs, Tensor gradient, Operand residual, BackwardProduct product, GradientSettings settings)
    {
        Operand incoming = gradient;
        if (settings.QType is not null && Codec.IsQuantizable(gradient.dtype))
        {
            var source = gradient;
            if (residual.QArray is { } array)
            {
                // A scale in the gradient is as good as one in the operand, whose codes can then be used as they are.
                source = gradient * BackwardProduct.OnResult(array.Scale, _lhs.Axes, _rhs.Axes, ofLhs: !forLhs);
                residual = new QArray(array.QType, array.Shape, array.Codes, ones([.. array.Scale.shape.Select(_ => 1L)], array.Dtype, array.Device));
            }

            incoming = Quantizer.Quantize(source, HowForGradient(product, settings, residual));
        }

        if (residual.Tensor is { } plain && settings.ResidualQType is not null && Codec.IsQuantizable(plain.dtype))
            residual = Quantizer.Quantize(plain, HowForResidual(product, settings, plain));
        return DotGeneralOp.Compute(incoming, residual, product.Numbers, null).permute(product.Order);
    }

    private HowToQuantize HowForGradient(BackwardProduct product, GradientSettings settings, Operand residual) =>
        OneScale(DotGeneralOp.HowToQuantize(product.Numbers, _resultShape.Length, residual.Rank, true, settings.QType!, Tiles(settings), settings.Calibration)) with
        {
            Noise = settings.Noise is { } noise ? shape => noise(shape, residual.QArray?.Device ?? residual.Tensor!.device) : null,
        };

    private HowToQuantize HowForResidual(BackwardProduct product, GradientSettings settings, Operand residual) =>
        DotGeneralOp.HowToQuantize(product.Numbers, _resultShape.Length, residual.Rank, false, settings.ResidualQType!, Tiles(settings), settings.ResidualCalibration);

    private static Tiling? Tiles(GradientSettings settings) => settings.TileSize is { } size ? size : null;

    private HowToQuantize OneScale(HowToQuantize how) => _settings.DisableChannelwiseAxes ? how with { ChannelwiseAxes = [] } : how;

    /// <summary>What the backward pass knows of an operand.</summary>
    private sealed class Side(AxisGroups axes, Tensor operand, SavedMask? mask)
    {
        internal AxisGroups Axes => axes;

        internal ScalarType Dtype { get; } = operand.dtype;

        internal bool NeedsGradient { get; } = operand.requires_grad;

        /// <summary>What of its gradient passes; null where all does.</summary>
        internal SavedMask? Mask => mask;

        /// <summary>The operand as the gradient of the other one needs it.</summary>
        internal SavedOperand? Residual { get; set; }
    }
}
